"""Health, state and metrics of the comparing process over HTTP: /livez, /readyz, /status, /metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cdc.config import listen_address
from cdc.errors import ConfigError
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


class Server:
    def __init__(self, listen: str, loops: Sequence[Loop]) -> None:
        """Raises: ConfigError when the port is taken."""
        registry = CollectorRegistry()
        registry.register(_Figures(loops))

        class Handler(BaseHTTPRequestHandler):
            timeout = 5
            server_version = "banyan-verify"
            sys_version = ""

            def do_GET(self) -> None:
                code, kind, body = _answer(self.path.partition("?")[0], loops, registry)
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
            raise ConfigError(f"cannot listen on {listen}: {e.strerror}: choose another port, or 0") from e
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, loops: Sequence[Loop], registry: CollectorRegistry) -> tuple[int, str, bytes]:
    match path:
        case "/livez" | "/readyz":
            return 200, "application/json", b'{"status":"ok"}'
        case "/status":
            said = {
                loop.mapping.domain: {**(asdict(loop.kept) if loop.kept else {}), "problem": loop.problem}
                for loop in loops
            }
            return 200, "application/json", orjson.dumps(said)
        case "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry)
    missing = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "try /status or /metrics"}
    return 404, "application/problem+json", orjson.dumps(missing)
