"""Small real servers that play the gateway's admin API and a change stream, and do as a test tells them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "the-admin-token"

OPERATIONS = [{"id": "x.list", "method": "GET", "path": "/x", "kind": "read", "key": ["header:x-client-id"]}]


def wave(phase: str = "legacy", percent: float = 0, owner: str = "legacy", **more: Any) -> dict[str, Any]:
    return {
        "wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": phase, "canary_percent": percent, "owner": owner,
        "epoch": 0, "hold": False, **more,
    }  # fmt: skip


def figures(per_s: float, p50: float = 4.2, p99: float = 21.0, errors: float = 0.0) -> dict[str, float]:
    return {"per_s": per_s, "p50_ms": p50, "p99_ms": p99, "errors_per_s": errors}


def live(legacy: float = 0.0, service: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "requests": {"legacy": figures(legacy), "service": figures(service, 1.9, 8.5)},
        "fallbacks": 0, "held": 0, "rerouted": 0, "shadow": {"compared": 0, "mismatched": 0},
        "breakers": {"legacy": "closed", "service": "closed"}, "health": {"legacy": True, "service": True}, **more,
    }  # fmt: skip


@dataclass
class Gateway:
    """What the played gateway says; a test changes it at any time."""

    waves: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"pricing": [wave()]})
    live: dict[str, dict[str, Any]] = field(default_factory=lambda: {"pricing": live(legacy=120)})
    version: int = 7
    stream: dict[str, Any] = field(default_factory=lambda: {"state": "streaming", "lag_ms": 12.0, "parked": 0})
    calls: int = 0

    def put(self, domain: str, *waves: dict[str, Any]) -> None:
        self.waves[domain] = list(waves)
        self.version += 1

    def answer(self, path: str) -> Any:
        self.calls += 1
        match path:
            case "/v1/table":
                domains = {
                    name: {"service": name, "waves": waves, "operations": [], "shadow_percent": 100}
                    for name, waves in self.waves.items()
                }
                upstreams = {name: {"urls": ["http://127.0.0.1:9"]} for name in ("legacy", *self.waves)}
                return {"version": self.version, "upstreams": upstreams, "domains": domains}
            case "/v1/status":
                return {"version": self.version, "workers": 1, "domains": self.live}
            case "/stream/status":
                return self.stream
            case "/health" | "/readyz":
                return {"ok": True}
        return None


@contextlib.contextmanager
def playing(gateway: Gateway, port: int = 0) -> Iterator[str]:
    """Serve `gateway`; yields its URL."""

    connections: set[socket.socket] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            authorized = not self.path.startswith("/v1/") or self.headers.get("Authorization") == f"Bearer {TOKEN}"
            found = gateway.answer(self.path) if authorized else {"title": "no"}
            body = json.dumps(found).encode()
            self.send_response(401 if not authorized else 404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def setup(self) -> None:
            super().setup()
            connections.add(self.connection)

        def finish(self) -> None:
            connections.discard(self.connection)
            with contextlib.suppress(OSError):
                super().finish()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        for connection in list(connections):  # a server that dies takes its kept-alive connections with it
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()
