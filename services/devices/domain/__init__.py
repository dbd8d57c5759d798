"""Devices' rules: pure, no I/O."""
