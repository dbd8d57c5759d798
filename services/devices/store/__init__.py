"""What the devices service keeps, and the queries on it."""
