"""A small real HTTP server that serves imbalance prices as Elia does; it can be told to fail."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MarketSource:
    """`failures` is what it answers first, one status a request; `raw` goes before the prices."""

    def __init__(self) -> None:
        self.prices: dict[datetime, tuple[float, str]] = {}
        self.failures: list[int] = []
        self.raw: bytes | None = None
        self.asked = 0
        self.url = ""

    def tell(self, at: datetime, price: float, quality: str = "DataIssued") -> None:
        self.prices[at] = (price, quality)

    def body(self) -> bytes:
        if self.raw is not None:
            return self.raw
        records = [
            {"datetime": at.isoformat(), "resolutioncode": "PT1M", "qualitystatus": quality, "imbalanceprice": price}
            for at, (price, quality) in self.prices.items()
        ]
        return json.dumps({"total_count": len(records), "results": records}).encode()


@contextlib.contextmanager
def serving() -> Iterator[MarketSource]:
    source = MarketSource()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            source.asked += 1
            status = source.failures.pop(0) if source.failures else 200
            body = source.body() if status == 200 else b"not now"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    source.url = f"http://127.0.0.1:{server.server_address[1]}/records"
    try:
        yield source
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
