"""Health, state and metrics of the comparing process over HTTP: /livez, /readyz, /status, /metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cdc.state_server import ALIVE, Answer, StateServer, as_json, as_metrics, missing
from cdc.verify.loop import Loop

COUNTERS = {
    "banyan_verify_passes": ("whole comparisons of the domain", "passes"),
    "banyan_verify_rows": ("rows compared", "rows_total"),
    "banyan_verify_requeued": ("looks at keys that were under way", "requeued_total"),
    "banyan_verify_drift_found": ("keys found to differ", "found_total"),
    "banyan_verify_drift_repaired": ("keys repaired", "repaired_total"),
}
GAUGES = {
    "banyan_verify_drift_keys": ("keys that differed in the newest comparison", "last_drift"),
    "banyan_verify_unsettled_keys": ("keys of which nothing could be said in it", "last_unsettled"),
    "banyan_verify_age_seconds": ("since the newest comparison began", "age_s"),
    "banyan_verify_clean_age_seconds": ("since the newest clean comparison began", "clean_age_s"),
}


class _Figures(Collector):
    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = loops

    def collect(self) -> Iterator[Metric]:
        for families, kind in ((COUNTERS, CounterMetricFamily), (GAUGES, GaugeMetricFamily)):
            for name, (text, field) in families.items():
                metric = kind(name, text, labels=["domain"])
                for loop in self._loops:
                    value = getattr(loop.kept, field, None) if loop.kept is not None else None
                    if value is not None:
                        metric.add_metric([loop.mapping.domain], float(value))
                yield metric
        failing = GaugeMetricFamily("banyan_verify_failing", "1 while no comparison can be made", labels=["domain"])
        for loop in self._loops:
            failing.add_metric([loop.mapping.domain], int(bool(loop.problem)))
        yield failing


def serve(listen: str, loops: Sequence[Loop]) -> StateServer:
    """Raises: ConfigError when it cannot listen there."""
    registry = CollectorRegistry()
    registry.register(_Figures(loops))

    def answer(path: str) -> Answer:
        match path:
            case "/livez" | "/readyz":
                return ALIVE
            case "/status":
                return as_json({loop.mapping.domain: _told(loop) for loop in loops})
            case "/metrics":
                return as_metrics(registry)
            case _:
                return missing("/status or /metrics")

    return StateServer(listen, "banyan-verify", answer)


def _told(loop: Loop) -> dict[str, Any]:
    return {**(asdict(loop.kept) if loop.kept else {}), "problem": loop.problem}
