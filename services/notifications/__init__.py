"""Messages to customers, and what they want to receive."""
