"""A small server side of both contracts and of the flag, whose faults a test turns on and off."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "device-secret"


@dataclass
class FakeServer:
    """What it holds, what it was asked, and how it shall fail: `fault(method, path)` gives a status, or None."""

    version: int = 1
    slots: list[tuple[str, str, str, int]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    flag: str = "legacy"
    fault: Callable[[str, str], int | None] = lambda method, path: None
    retry_after: str | None = None
    requests: list[tuple[float, str, str]] = field(default_factory=list)
    acks: list[tuple[str, str]] = field(default_factory=list)
    answered: list[tuple[str, str, int]] = field(default_factory=list)
    request_ids: set[str] = field(default_factory=set)
    server: ThreadingHTTPServer | None = None
    port: int = 0

    def start(self) -> FakeServer:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.handle(self, "GET")

            def do_POST(self) -> None:
                owner.handle(self, "POST")

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        self.requests.append((time.monotonic(), method, handler.path))
        self.request_ids.add(handler.headers.get("X-Request-Id", ""))
        status, answer, headers = self._answer(handler, method, body)
        self.answered.append((method, handler.path, status))
        content = b"" if answer is None else json.dumps(answer).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _answer(self, handler: BaseHTTPRequestHandler, method: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        path = handler.path
        if status := self.fault(method, path):
            return status, {"error": "fault"}, {"Retry-After": self.retry_after} if self.retry_after else {}
        if path == "/ofrep/v1/evaluate/flags":
            return self._flag(handler, body)
        if path.startswith("/v2/"):
            if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, None, {}
            return self._v2(handler, method, body)
        if handler.headers.get("X-Device-Token") != TOKEN:
            return 401, {"error": "no such device"}, {}
        return self._legacy(method, body)

    def _flag(self, handler: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any, dict[str, str]]:
        assert body == {"context": {"targetingKey": "17"}}
        etag = f'"{self.flag}"'
        if handler.headers.get("If-None-Match") == etag:
            return 304, None, {"ETag": etag}
        return 200, {"flags": [{"key": "device-backend", "value": self.flag, "variant": self.flag}]}, {"ETag": etag}

    def _legacy(self, method: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        if method == "GET":
            slots = ";".join(f"{a}-{b} {mode}{power}" for a, b, mode, power in self.slots)
            return 200, {"device_id": 17, "version": self.version, "slots": slots, "commands": self.commands}, {}
        return self._take(
            [(body["ref"], {"D": "delivered", "S": "succeeded", "F": "failed", "X": "expired"}[body["state"]])]
        )

    def _v2(self, handler: BaseHTTPRequestHandler, method: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        if method == "POST":
            return self._take([(ack["ref"], ack["state"]) for ack in body["acks"]])
        etag = f'"{self.version}-{len(self.commands)}"'
        if handler.headers.get("If-None-Match") == etag:
            return 304, None, {"ETag": etag}
        words = {"C": "charge", "D": "discharge", "H": "hold"}
        slots = [
            {"from": f"{a[:2]}:{a[2:]}", "to": f"{b[:2]}:{b[2:]}", "mode": words[mode], "power_w": power}
            for a, b, mode, power in self.slots
        ]
        return 200, {"device_id": 17, "version": self.version, "slots": slots, "commands": []}, {"ETag": etag}

    def _take(self, acks: list[tuple[str, str]]) -> tuple[int, Any, dict[str, str]]:
        self.acks.extend(acks)
        return 201, {}, {}

    def paths(self, method: str | None = None) -> list[str]:
        return [path for _, m, path in list(self.requests) if method in (None, m)]
