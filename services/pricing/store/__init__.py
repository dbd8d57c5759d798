"""What pricing keeps, and the queries on it."""
