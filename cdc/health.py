"""Health and metrics of a stream over HTTP: /livez, /readyz, /status, /watermark, /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cdc.state_server import ALIVE, Answer, StateServer, as_json, as_metrics, missing
from cdc.status import BATCHES, Status

SLOT_STATES = ("reserved", "extended", "unreserved", "lost", "missing")


class _Figures(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> list[Metric]:
        figures = self._status.document()
        gauges = {
            "banyan_cdc_lag_seconds": (
                "commit at the source to applied at the target",
                (figures["lag_ms"] or 0.0) / 1000,
            ),
            "banyan_cdc_lag_bytes": ("WAL not applied yet", figures["lag_bytes"]),
            "banyan_cdc_parked_keys": ("keys whose changes the target refused", figures["parked"]),
            "banyan_cdc_foreign_commits": ("unsettled commits by somebody who is not the owner", figures["foreign"]),
            "banyan_cdc_orphans": ("values whose parent row is missing at the target", figures["orphans"] or 0),
            "banyan_cdc_ready": ("1 while streaming", int(self._status.ready())),
            "banyan_cdc_paused": ("1 while reading waits for the target", int(figures["paused"])),
            "banyan_cdc_halted": ("1 while a changed schema stops it", int(self._status.state == "halted")),
            "banyan_cdc_rows_per_second": ("rows applied, over the last seconds", figures["rate"]),
            "banyan_cdc_snapshot_rows": ("rows of the newest fill", figures["snapshot_rows"]),
            "banyan_cdc_slot_retained_bytes": ("WAL that the slot keeps at the source", figures["retained_bytes"]),
            "banyan_cdc_slot_unconfirmed_bytes": ("WAL not confirmed to the source", figures["unconfirmed_bytes"]),
            "banyan_cdc_alarms": ("what somebody should be called for", len(figures["alarms"])),
        }
        if (room := figures["room_bytes"]) is not None:
            gauges["banyan_cdc_slot_room_bytes"] = ("WAL that may still be written until the slot is lost", room)
        found: list[Metric] = [self._slot_state(figures["wal_status"]), self._batches()]
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=["stream"])
            gauge.add_metric([self._status.stream], value)
            found.append(gauge)
        for name, text, value in (
            ("banyan_cdc_rows", "row changes applied by this process", figures["rows"]),
            ("banyan_cdc_restarts", "times that the stream was connected anew", figures["restarts"]),
            ("banyan_cdc_transactions", "source transactions applied by this process", figures["transactions"]),
            ("banyan_cdc_watermarks_published", "watermarks written to Redis", self._status.published),
        ):
            counter = CounterMetricFamily(name, text, labels=["stream"])
            counter.add_metric([self._status.stream], value)
            found.append(counter)
        return found

    def _slot_state(self, now: str) -> Metric:
        states = GaugeMetricFamily(
            "banyan_cdc_slot_state", "1 for the state that the slot is in", labels=["stream", "state"]
        )
        for state in SLOT_STATES:
            states.add_metric([self._status.stream, state], int(state == now))
        return states

    def _batches(self) -> Metric:
        batches, below = self._status.batches, 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, BATCHES), "+Inf"], batches.counts, strict=True):
            below += count
            buckets.append((bound, below))
        sizes = HistogramMetricFamily(
            "banyan_cdc_batch_rows", "rows in one transaction of the target", labels=["stream"]
        )
        sizes.add_metric([self._status.stream], buckets, sum_value=batches.rows)
        return sizes


def serve(listen: str, status: Status) -> StateServer:
    """Raises: ConfigError when it cannot listen there."""
    registry = CollectorRegistry()
    registry.register(_Figures(status))

    def answer(path: str) -> Answer:
        match path:
            case "/livez":
                return ALIVE
            case "/readyz":
                return as_json({"state": status.state, "problem": status.problem}, 200 if status.ready() else 503)
            case "/status":
                return as_json(status.document())
            case "/watermark":
                watermark = status.watermark() or {}
                return as_json({"stream": status.stream, **watermark}, 200 if watermark else 503)
            case "/metrics":
                return as_metrics(registry)
            case _:
                return missing("/status, /watermark, /metrics, /livez or /readyz")

    return StateServer(listen, "banyan-cdc", answer)
