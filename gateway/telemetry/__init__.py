"""Spans of sampled requests for an OpenTelemetry collector: docs/telemetry.md. Off unless the environment names it."""
