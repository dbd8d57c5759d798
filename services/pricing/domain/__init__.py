"""Pricing's rules: pure, no I/O."""
