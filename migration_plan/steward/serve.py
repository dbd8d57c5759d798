"""Health, state and metrics of the steward over HTTP: /livez, /readyz, /status, /metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cdc.config import listen_address
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


class Server:
    def __init__(self, listen: str, steward: Steward) -> None:
        """Raises: NotConfigured when the port is taken."""
        registry = CollectorRegistry()
        registry.register(_Figures(steward))

        class Handler(BaseHTTPRequestHandler):
            timeout = 5
            server_version = "banyan-steward"
            sys_version = ""

            def do_GET(self) -> None:
                code, kind, body = _answer(self.path.partition("?")[0], steward, registry)
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a line each."""

        try:
            self._server = ThreadingHTTPServer(listen_address(listen), Handler)
        except ValueError as error:
            raise NotConfigured(f"{error}: say, for example, --listen 127.0.0.1:9150") from error
        except OSError as error:
            raise NotConfigured(
                f"cannot listen on {listen}: {error.strerror}: choose another port, or 0 for a free one"
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


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


def _answer(path: str, steward: Steward, registry: CollectorRegistry) -> tuple[int, str, bytes]:
    match path:
        case "/livez":
            return 200, "application/json", b'{"status":"ok"}'
        case "/readyz":
            polled = steward.figures.polled_at
            ready = polled is not None and time.monotonic() - polled <= STALE_S
            body = {"status": "ready" if ready else "does not look", "problem": steward.figures.problem}
            return 200 if ready else 503, "application/json", msgspec.json.encode(body)
        case "/status":
            return 200, "application/json", msgspec.json.encode(status(steward))
        case "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry)
    missing = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "try /status or /metrics"}
    return 404, "application/problem+json", msgspec.json.encode(missing)
