"""Invoices, computed half here and half in the database."""
