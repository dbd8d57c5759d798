"""A front for tests: one domain's paths go to its service, the rest to the monolith; new customers reach the service.

It plays the gateway's routing and the reference stream, so that the monolith's own black-box tests can judge a service.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psycopg

DOMAINS = {
    "pricing": re.compile(r"/api/(tariffs|prices|quotes)\b"),
    "devices": re.compile(r"/api/devices\b|/get-schedule/"),
    "notifications": re.compile(r"/api/notifications\b|/api/customers/[^/]+/preferences$"),
}
ADD_CUSTOMER = {
    "pricing": "INSERT INTO customer_refs (id) VALUES (%(id)s)",
    "devices": "INSERT INTO customer_refs (id) VALUES (%(id)s)",
    "notifications": "INSERT INTO customer_refs (id, email) VALUES (%(id)s, %(email)s)",
}
_TIMEOUT = httpx.Timeout(15).as_dict()
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive", "date", "server"}


@contextlib.contextmanager
def split(domain: str, service: str, monolith: str, dsn: str) -> Iterator[str]:
    """The front's base URL."""
    upstream = httpx.HTTPTransport(limits=httpx.Limits(max_connections=64))  # a client would keep cookies

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = self.path.partition("?")[0]
            side = service if DOMAINS[domain].match(path) else monolith
            headers = [(k, v) for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP]
            answer = upstream.handle_request(
                httpx.Request(
                    self.command, side + self.path, content=body, headers=headers, extensions={"timeout": _TIMEOUT}
                )
            )
            answer.read()
            if (self.command, path, answer.status_code) == ("POST", "/api/customers", 201):
                with psycopg.connect(dsn) as connection:
                    connection.execute(ADD_CUSTOMER[domain], json.loads(answer.content))
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_DELETE = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Front)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        upstream.close()
