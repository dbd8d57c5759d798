"""Live decisions: lines of the access log for whoever listens just now, whether or not there is an access log."""
