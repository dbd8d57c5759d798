"""What every service shares: settings, database, errors, auth, health, telemetry, messages."""
