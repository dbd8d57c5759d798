"""What the notifications service keeps, and the queries on it."""
