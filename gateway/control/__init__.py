"""How route tables come to the gateway and figures leave it."""
