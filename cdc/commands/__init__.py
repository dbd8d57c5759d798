"""Commands of `python -m cdc` that are more than one call."""
