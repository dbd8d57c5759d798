"""The minute job that runs inside the web process."""
