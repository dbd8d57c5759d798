"""Loads public price and load data."""
