"""Health, state and metrics of the steward over HTTP: /livez, /readyz, /status, /metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cdc.errors import ConfigError
from cdc.state_server import ALIVE, Answer, StateServer, as_json, as_metrics, missing
from migration_plan.errors import NotConfigured
from migration_plan.steward.watch import Steward

#: Without a look for so long it keeps no promise: ready no more.
STALE_S = 10.0

VERDICTS = {"pass": 0, "inconclusive": 1, "fail": 2}


class _Figures(Collector):
    def __init__(self, steward: Steward) -> None:
        self._steward = steward

    def collect(self) -> Iterator[Metric]:
        figures, waves = self._steward.figures, list(self._steward.waves.items())
        yield CounterMetricFamily("banyan_steward_polls", "looks at everything", figures.polls)
        yield CounterMetricFamily("banyan_steward_poll_seconds", "time that they took", figures.seconds)
        failing = int(figures.problem is not None)
        yield GaugeMetricFamily("banyan_steward_failing", "1 while it cannot look", failing)
        gates = GaugeMetricFamily(
            "banyan_steward_gate", "0 pass, 1 inconclusive, 2 fail", labels=["domain", "wave", "gate"]
        )
        for (domain, number), wave in waves:
            for finding in wave.shown.findings:
                gates.add_metric([domain, str(number), finding.gate], VERDICTS[finding.verdict])
        yield gates
        frozen = GaugeMetricFamily("banyan_steward_frozen", "1 while a domain takes no step forward", labels=["domain"])
        for domain in list(self._steward.frozen):
            frozen.add_metric([domain], 1)
        yield frozen
        actions = CounterMetricFamily("banyan_steward_actions", "what it did", labels=["domain", "action"])
        for key, count in list(figures.actions.items()):
            actions.add_metric(key, count)
        yield actions
        told = CounterMetricFamily("banyan_steward_announcements", "to the webhook", labels=["outcome"])
        if (webhook := self._steward.announcer.webhook) is not None:
            told.add_metric(["sent"], webhook.sent)
            told.add_metric(["failed"], webhook.failed)
        yield told


def serve(listen: str, steward: Steward) -> StateServer:
    """Raises: NotConfigured when it cannot listen there."""
    registry = CollectorRegistry()
    registry.register(_Figures(steward))

    def answer(path: str) -> Answer:
        match path:
            case "/livez":
                return ALIVE
            case "/readyz":
                return _ready(steward)
            case "/status":
                return as_json(status(steward))
            case "/metrics":
                return as_metrics(registry)
            case _:
                return missing("/status or /metrics")

    try:
        return StateServer(listen, "banyan-steward", answer)
    except ConfigError as error:
        raise NotConfigured(str(error)) from error


def status(steward: Steward) -> dict[str, Any]:
    return {
        "problem": steward.figures.problem,
        "polls": steward.figures.polls,
        "frozen": {name: row.entry.reason for name, row in list(steward.frozen.items())},
        "waves": [
            {
                "domain": domain,
                "wave": number,
                "stage": wave.shown.stand,
                "gates": {finding.gate: [finding.verdict, finding.measured] for finding in wave.shown.findings},
                "forced": sorted(wave.forced),
                "said": wave.shown.said,
            }
            for (domain, number), wave in list(steward.waves.items())
        ],
    }


def _ready(steward: Steward) -> Answer:
    polled = steward.figures.polled_at
    ready = polled is not None and time.monotonic() - polled <= STALE_S
    body = {"status": "ready" if ready else "does not look", "problem": steward.figures.problem}
    return as_json(body, 200 if ready else 503)
