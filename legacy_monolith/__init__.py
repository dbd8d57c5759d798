"""The retailer's ten-year-old Flask application, the one that is being strangled."""
