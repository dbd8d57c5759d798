"""Plans what a battery does from prices and an expected load; numpy, no solver."""
