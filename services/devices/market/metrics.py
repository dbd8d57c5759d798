"""What the market's job counts. Labels are words of a fixed set; no device is one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class MarketMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "banyan_devices_imbalance_runs_total", "Times that the source was asked.", ["result"], registry=registry
        )
        self.revisions = Counter(
            "banyan_devices_imbalance_revisions_total", "Prices that were new or corrected.", registry=registry
        )
        self.price_at = Gauge(
            "banyan_devices_imbalance_price_timestamp_seconds", "When the newest price begins.", registry=registry
        )
        self.gaps = Gauge(
            "banyan_devices_imbalance_gaps", "Stretches of the last two hours without a price.", registry=registry
        )
        self.commands = Counter(
            "banyan_devices_market_commands_total",
            "Batteries decided on: written, idle, repeated, or foreign (owned by another side).",
            ["result"],
            registry=registry,
        )
        self.stale = Counter(
            "banyan_devices_market_stale_total", "Messages that came too late and died.", ["topic"], registry=registry
        )
        self.seconds = Histogram(
            "banyan_devices_market_decide_seconds",
            "Time to decide for one part of the fleet.",
            buckets=_SECONDS,
            registry=registry,
        )
