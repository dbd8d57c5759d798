"""The clean API for devices: UTC instants, words, ETags, acknowledgements in batches."""
