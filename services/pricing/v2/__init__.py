"""The clean API: UTC instants, decimals as strings, half-open ranges, opaque cursors, problem+json."""
