"""The answer on its way to the client: its head, framed for what the client speaks, then its payload as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.http1.chunked import encode_chunk, last_chunk
from gateway.http1.date import date_line
from gateway.http1.forward import client_head
from gateway.http1.head import Response

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


def inform(exchange: Exchange, response: Response) -> None:
    """Pass on a 1xx to whoever can understand it (RFC 9110 §15.2); a 100 only to a client that waits for one."""
    request = exchange.request
    if request.v11 and (request.expects or response.status != 100):
        exchange.client.write(client_head(response, b"", exchange))
        request.expects = request.expects and response.status != 100


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
    if exchange.decision.shadow is not None:
        exchange.capture = exchange.gateway.shadow.capture(exchange, response)
        if exchange.capture is not None:
            keep(exchange, body)
    if b"\r\ndate:" not in response.low:
        extra += date_line()
    if chunked and request.special and request.takes_trailers and (names := response.header(b"trailer")):
        extra += b"Trailer: " + names + b"\r\n"
    if exchange.notes:
        extra += exchange.notes
    data = client_head(response, extra, exchange)
    if body:
        data += encode_chunk(body) if chunked else body
    exchange.answered = perf_counter()
    exchange.sent = len(data)
    client.write(data)
    return chunked


def keep(exchange: Exchange, data: bytes) -> None:
    """For the comparison with the other side; what is too long is not compared."""
    if exchange.capture is not None and not exchange.capture.keep(data):
        exchange.capture = None
        exchange.gateway.shadow.dropped(exchange.route.domain)


def open_tunnel(exchange: Exchange, response: Response, rest: bytes) -> None:
    """The head of a 101, then bytes both ways."""
    exchange.status = 101
    exchange.tunnel = True
    upgrade = response.header(b"upgrade") or b""
    extra = exchange.decision.banner + b"Connection: upgrade\r\nUpgrade: " + upgrade + b"\r\n"
    exchange.client.keep_alive = False
    data = client_head(response, extra, exchange) + rest
    exchange.answered = perf_counter()
    exchange.sent = len(data)
    exchange.client.open_tunnel(data)


class Relay:
    """The rest of an answer that did not come in one piece."""

    __slots__ = ("_chunked", "_exchange")

    def __init__(self, exchange: Exchange, chunked: bool) -> None:
        self._exchange = exchange
        self._chunked = chunked

    def write(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange.capture is not None:
            keep(exchange, data)
        if self._chunked:
            data = encode_chunk(data)
        exchange.sent += len(data)
        exchange.client.write(data)

    def end(self, trailers: Sequence[bytes] = ()) -> bool:
        """True: the answer is complete.

        Trailers go to a client that said it takes them (RFC 9110 §6.5.1); others lose nothing they could use.
        """
        if self._chunked:
            request = self._exchange.request
            wanted = trailers and request.special and request.takes_trailers
            lines = b"".join([line + b"\r\n" for line in trailers]) if wanted else b""
            self._exchange.client.write(last_chunk(lines))
        return True
