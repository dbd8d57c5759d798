"""What the client was asked for and got, kept for the comparison with the other side; and what may be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.http1.chunked import LAST_CHUNK, encode_chunk
from gateway.http1.head import Response
from gateway.routing.bucket import bucket
from gateway.shadow.answer import MOST_BODY, Answer, answer_of
from gateway.shadow.shown import Shown

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


class Capture:
    """A response on its way to the client."""

    __slots__ = ("_pieces", "_response", "_size")

    def __init__(self, response: Response) -> None:
        self._response = response
        self._pieces: list[bytes] = []
        self._size = 0

    def keep(self, data: bytes) -> bool:
        """False: it has become too long to be compared."""
        self._size += len(data)
        self._pieces.append(data)
        return self._size <= MOST_BODY

    def answer(self) -> Answer:
        """Raises: Incomparable."""
        return answer_of(self._response, b"".join(self._pieces))


@dataclass(frozen=True, slots=True)
class Copy:
    """What was asked and answered. `head` asks for the same again, `other_head` the other side; `body` is a payload.

    `bucket`: of its key, which says whose wave it is; None: it names none.
    """

    domain: str
    operation: str
    target: bytes
    method: bytes
    head: bytes
    other_head: bytes
    body: bytes
    primary: str  # upstream
    other: str
    side: str  # of the primary
    capture: Capture
    shown: Shown
    bucket: int | None

    @property
    def size(self) -> int:
        return len(self.head) + len(self.body) + self.capture._size

    def request(self, upstream: str, *extra: bytes) -> bytes:
        """The whole request, as it goes to this side."""
        head = (
            (self.other_head if upstream == self.other else self.head)[:-2]
            + b"Banyan-Shadow: 1\r\n"
            + b"".join(extra)
            + b"\r\n"
        )
        if b"\r\ntransfer-encoding: chunked\r\n" in head.lower():
            return head + (encode_chunk(self.body) if self.body else b"") + LAST_CHUNK
        return head + self.body


def copy_of(exchange: Exchange, capture: Capture) -> Copy:
    decision, request = exchange.decision, exchange.request
    assert decision.shadow is not None
    gateway, bridge = exchange.gateway, exchange.gateway.bridge
    key = exchange.route.key_of(request, exchange.values)
    other_head = exchange.head if bridge is None else bridge.copy_head(exchange, decision.shadow)
    return Copy(
        exchange.route.domain,
        exchange.route.id,
        request.target,
        request.method,
        exchange.head,
        other_head,
        b"".join(exchange.body.kept or ()),
        decision.upstream,
        decision.shadow,
        decision.side,
        capture,
        Shown(gateway.front, gateway.front.public(exchange)),
        None if key is None else bucket(key),
    )


def is_comparable_read(exchange: Exchange) -> bool:
    """Not a part of a resource, and not an answer that depends on what the client has already."""
    low = exchange.request.low
    return (
        exchange.read
        and exchange.request.method == b"GET"
        and not exchange.request.has_body
        and b"\r\nrange:" not in low
        and b"\r\nif-" not in low
    )


def is_comparable_write(exchange: Exchange, response: Response) -> bool:
    """Legacy has done it, and all of its payload is at hand."""
    body = exchange.body
    return (
        not exchange.read
        and exchange.request.method not in (b"GET", b"HEAD", b"OPTIONS")
        and exchange.decision.side == "legacy"
        and 200 <= response.status < 300
        and body.done
        and body.kept is not None
        and body.size <= MOST_BODY
    )
