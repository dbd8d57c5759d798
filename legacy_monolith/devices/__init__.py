"""Home batteries: registration, schedules, acknowledgements."""
