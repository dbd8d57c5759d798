"""What the gateway does when a side is slow, away, or not the owner."""
