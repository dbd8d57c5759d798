"""The answer to a write is kept back until every node knows that its client's reads go to the owner.

The pin is set before a byte of the answer goes out: its client may read through another worker, or another node, as
soon as it has the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.http1.head import Response
from gateway.http1.relay import Relay, begin
from gateway.policies.sharing import MOST_SECONDS

if TYPE_CHECKING:
    from gateway.http1.call import Call
    from gateway.http1.exchange import Exchange


def pin(exchange: Exchange) -> list[int]:
    """This client's reads go to the owner from now on; what the other nodes have to be told, if there may be others."""
    route, gateway = exchange.route, exchange.gateway
    if route.is_read is not False:
        return []
    return gateway.board.record(route.domain, route.identities_of(exchange.request, exchange.values))


def pin_and_tell(exchange: Exchange) -> None:
    """Of a write with no answer of its server: nobody waits for the other nodes, but they are told."""
    slots, sharing = pin(exchange), exchange.gateway.sharing
    if slots and sharing is not None:
        sharing.tell(slots, _nobody_waits)


def _nobody_waits() -> None: ...


def withhold(exchange: Exchange, call: Call, response: Response, body: bytes, done: bool) -> Withheld | None:
    """Pin the client of a write that was carried out, or may have been. None: its answer need not wait."""
    if 400 <= response.status < 500:
        return None
    slots = pin(exchange)
    sharing = exchange.gateway.sharing
    if not slots or sharing is None:
        return None
    withheld = Withheld(exchange, call, response, body, done)
    return withheld if sharing.tell(slots, withheld.release) else None


class Withheld:
    """Stands in for the relay: takes what comes of the answer, and hands it on when it is released."""

    __slots__ = ("_body", "_call", "_done", "_exchange", "_pieces", "_response", "_trailers")

    def __init__(self, exchange: Exchange, call: Call, response: Response, body: bytes, done: bool) -> None:
        self._exchange = exchange
        self._call = call
        self._response = response
        self._body = body
        self._done = done
        self._pieces: list[bytes] | None = None if done else []
        self._trailers: Sequence[bytes] | None = None

    def start(self) -> None:
        exchange = self._exchange
        exchange.status = self._response.status  # what breaks from here on has no second try
        exchange.touched = exchange.gateway.now + MOST_SECONDS
        if self._call.connection is not None:
            self._call.connection.transport.pause_reading()

    def write(self, data: bytes) -> None:
        assert self._pieces is not None
        self._pieces.append(data)

    def end(self, trailers: Sequence[bytes] = ()) -> bool:
        self._trailers = trailers
        return False

    def release(self) -> None:
        exchange, call = self._exchange, self._call
        if exchange.over:
            return
        chunked = begin(exchange, self._response, self._body)
        if self._done:
            exchange.finish()
            return
        relay = Relay(exchange, chunked)
        for piece in self._pieces or ():
            relay.write(piece)
        if self._trailers is not None:
            relay.end(self._trailers)
            exchange.finish()
            return
        call.go_on(relay)
