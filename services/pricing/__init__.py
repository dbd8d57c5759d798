"""Tariffs, market prices and quotes."""
