"""What the planner counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class PlannerMetrics:
    """Versions are few, so they may be labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.plans = Counter(
            "banyan_devices_plans_total", "Plans made, by the model or by rules.", ["version", "source"],
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "banyan_devices_plan_seconds", "Time that the model took.", buckets=_SECONDS, registry=registry
        )
        self.drift = Gauge(
            "banyan_devices_planner_drift", "Population stability index of what is asked.", ["input"],
            registry=registry,
        )  # fmt: skip
        self.error = Gauge(
            "banyan_devices_forecast_error_share", "Errors of the newest judged forecast, as a share of what was.",
            ["version"], registry=registry,
        )  # fmt: skip
        self.bias = Gauge(
            "banyan_devices_forecast_bias_share", "What the newest judged forecast told too much, as a share.",
            ["version"], registry=registry,
        )  # fmt: skip
