"""Imbalance prices in, commands of batteries out: what the monolith's minute job does while legacy owns the devices."""
