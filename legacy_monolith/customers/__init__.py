"""Customers, their contracts, and logging in."""
