"""The console's own metrics, made from its state when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from console.hub import Hub
from console.poller import PARTS, Poller

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Console(Collector):
    def __init__(self, poller: Poller, hub: Hub) -> None:
        self._poller, self._hub = poller, hub

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("banyan_console_viewers", "Open event streams.", value=len(self._hub))
        up = GaugeMetricFamily("banyan_console_source_up", "1 while the source answers.", labels=["source"])
        polls = CounterMetricFamily("banyan_console_polls", "Readings of a source.", labels=["source", "result"])
        took = GaugeMetricFamily("banyan_console_poll_seconds", "How long the last reading took.", labels=["source"])
        for part in PARTS:
            up.add_metric([part], float(getattr(self._poller.readings, part).ok))
            answered, failed = self._poller.polls[part]
            polls.add_metric([part, "ok"], answered)
            polls.add_metric([part, "failed"], failed)
            took.add_metric([part], self._poller.seconds.get(part, 0.0))
        yield from (up, polls, took)
        drift = GaugeMetricFamily(
            "banyan_console_verify_drift", "Rows that differed in the newest `banyan verify`.", labels=["domain"]
        )
        ledger = self._poller.readings.ledger.value
        for domain, verified in ledger.verifications.items() if ledger else ():
            if verified.drift is not None:
                drift.add_metric([domain], verified.drift)
        yield drift


def registry(poller: Poller, hub: Hub) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(_Console(poller, hub))
    return found


def exposition(metrics: CollectorRegistry) -> bytes:
    return generate_latest(metrics)
