"""Prices in bulk: the same amounts as `services.pricing.domain.quotes`, as arrays of whole numbers (numpy)."""
