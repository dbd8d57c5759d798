"""The facade's own duties: no answer may show a client where it came from, and no side gets what is the other's."""
