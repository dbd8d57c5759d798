"""Health and metrics of a stream over HTTP: /livez, /readyz, /status, /watermark, /metrics."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cdc.config import listen_address
from cdc.errors import ConfigError
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


class Health:
    """Listens from the start, so that a failing stream can be asked why."""

    def __init__(self, listen: str, status: Status) -> None:
        """Raises: ConfigError when the port is taken."""
        registry = CollectorRegistry()
        registry.register(_Figures(status))

        class Handler(BaseHTTPRequestHandler):
            timeout = 5
            server_version = "banyan-cdc"
            sys_version = ""

            def do_GET(self) -> None:
                code, kind, body = _answer(self.path.partition("?")[0], status, registry)
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a line each."""

        try:
            self._server = ThreadingHTTPServer(listen_address(listen), Handler)
        except OSError as e:
            raise ConfigError(
                f"cannot listen on {listen}: {e.strerror}: choose another port, or 0 for a free one"
            ) from e
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, status: Status, registry: CollectorRegistry) -> tuple[int, str, bytes]:
    match path:
        case "/livez":
            return 200, "application/json", b'{"status":"ok"}'
        case "/readyz":
            return (
                (200 if status.ready() else 503),
                "application/json",
                orjson.dumps({"state": status.state, "problem": status.problem}),
            )
        case "/status":
            return 200, "application/json", orjson.dumps(status.document())
        case "/watermark":
            watermark = status.watermark()
            body = orjson.dumps({"stream": status.stream, **watermark} if watermark else {"stream": status.stream})
            return (200 if watermark else 503), "application/json", body
        case "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry)
        case _:
            problem = {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "try /status, /watermark, /metrics, /livez or /readyz",
            }
            return 404, "application/problem+json", orjson.dumps(problem)
