"""A small HTTP server that tells the state of a process: health, figures, metrics; one function answers each path."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest

from cdc.config import listen_address
from cdc.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    code: int = 200
    kind: str = "application/json"


ALIVE = Answer(b'{"status":"ok"}')


def as_json(value: Any, code: int = 200) -> Answer:
    return Answer(orjson.dumps(value), code)


def as_metrics(registry: CollectorRegistry) -> Answer:
    return Answer(generate_latest(registry), kind="text/plain; version=0.0.4; charset=utf-8")


def missing(paths: str) -> Answer:
    """404; `paths` are those that there are, in words."""
    problem = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": f"try {paths}"}
    return Answer(orjson.dumps(problem), 404, "application/problem+json")


class StateServer:
    """Listens from the start, so that a process that fails can be asked why."""

    def __init__(self, listen: str, name: str, answer: Callable[[str], Answer]) -> None:
        """`name`: for the header `Server`; `answer`: of a path. Raises: ConfigError when it cannot listen there."""

        class Handler(BaseHTTPRequestHandler):
            timeout = 5
            server_version = name
            sys_version = ""

            def do_GET(self) -> None:
                told = answer(self.path.partition("?")[0])
                self.send_response(told.code)
                self.send_header("Content-Type", told.kind)
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a line each."""

        try:
            self._server = ThreadingHTTPServer(listen_address(listen), Handler)
        except ValueError as e:
            raise ConfigError(f"{e}: say, for example, 127.0.0.1:9150") from e
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
