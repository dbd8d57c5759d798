"""What a person sees: the console in a real browser."""
