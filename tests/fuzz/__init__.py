"""Random bytes against the gateway; each module runs for as long as it is told."""
