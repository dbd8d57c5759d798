"""The answer on its way to the client: its head, framed for what the client speaks, then its payload as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.http1.chunked import LAST_CHUNK, encode_chunk
from gateway.http1.forward import client_head
from gateway.http1.head import Response
from gateway.shadow.fetch import MOST_BODY

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


def begin(exchange: Exchange, response: Response, body: bytes) -> bool:
    """Write the head, and what of the payload came with it; whether the rest goes out chunked.

    From here on there is no way back to another side.
    """
    client, request = exchange.client, exchange.request
    exchange.status = response.status
    extra = exchange.decision.banner + b"X-Request-Id: " + exchange.request_id + b"\r\n"
    chunked = False
    if response.length is None and not response.bodiless:
        if request.v11:
            chunked = True
            extra += b"Transfer-Encoding: chunked\r\n"
        else:
            client.keep_alive = False
    if not (client.keep_alive and exchange.body.done) or exchange.gateway.draining:
        client.keep_alive = False
        extra += b"Connection: close\r\n"
    if (
        exchange.decision.shadow is not None
        and request.method == b"GET"
        and exchange.gateway.shadow.wants(exchange.route.domain)
    ):
        exchange.capture = [body]
    data = client_head(response, extra)
    if body:
        data += encode_chunk(body) if chunked else body
    client.write(data)
    return chunked


def open_tunnel(exchange: Exchange, response: Response, rest: bytes) -> None:
    """The head of a 101, then bytes both ways."""
    exchange.status = 101
    exchange.tunnel = True
    upgrade = response.header(b"upgrade") or b""
    extra = exchange.decision.banner + b"Connection: upgrade\r\nUpgrade: " + upgrade + b"\r\n"
    exchange.client.keep_alive = False
    exchange.client.open_tunnel(client_head(response, extra) + rest)


class Relay:
    """The rest of an answer that did not come in one piece."""

    __slots__ = ("_captured", "_chunked", "_exchange")

    def __init__(self, exchange: Exchange, chunked: bool) -> None:
        self._exchange = exchange
        self._chunked = chunked
        self._captured = len(exchange.capture[0]) if exchange.capture is not None else 0

    def write(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange.capture is not None:
            self._keep(exchange.capture, data)
        exchange.client.write(encode_chunk(data) if self._chunked else data)

    def end(self) -> None:
        if self._chunked:
            self._exchange.client.write(LAST_CHUNK)

    def _keep(self, capture: list[bytes], data: bytes) -> None:
        """For the comparison with the other side; what is too long is not compared."""
        capture.append(data)
        self._captured += len(data)
        if self._captured > MOST_BODY:
            exchange = self._exchange
            exchange.capture = None
            exchange.gateway.meter.count(exchange.route.domain, "shadow_dropped")
