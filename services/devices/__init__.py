"""Home batteries: registration, schedules, acknowledgements, commands."""
