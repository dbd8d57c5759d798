"""Where a request goes, and why: pure decisions, no I/O."""
