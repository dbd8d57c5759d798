"""What a process of the service does for thousands of devices at once: waits, watches, counts."""
