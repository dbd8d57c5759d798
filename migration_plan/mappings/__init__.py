"""The energy retailer's mappings, and the converters that only its formats need."""
