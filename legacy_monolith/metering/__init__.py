"""Meters and their hourly readings."""
