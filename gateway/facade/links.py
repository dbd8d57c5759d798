"""Absolute links in the bodies of answers, by rule: a body is gathered, rewritten, and passed on as one piece.

What is longer than the table's `link_bytes` is passed on as it came, and counted (event links_too_long). Compressed
bodies cannot be looked into, so with this rule upstreams are not offered any compression (auth.bridge).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from gateway.http1.head import Response

if TYPE_CHECKING:
    from gateway.facade.front import Front
    from gateway.http1.call import Call
    from gateway.http1.exchange import Exchange

# What is no longer true of a body that was changed.
_OF_THE_BODY = re.compile(rb"\r\n(?:content-md5|digest|content-digest|repr-digest|accept-ranges):[^\r]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\n(?:content-length|trailer):[^\r]*", re.IGNORECASE)
_STRONG = re.compile(rb"(\r\netag:[ \t]*)(?=\")", re.IGNORECASE)


class Headed(Protocol):
    """A response, or what shadow keeps of one."""

    @property
    def status(self) -> int: ...
    @property
    def low(self) -> bytes: ...
    def header(self, name: bytes) -> bytes | None: ...


def is_rewritten(exchange: Exchange, response: Response) -> bool:
    """Asked only where a table has the rule."""
    front = exchange.gateway.front
    if response.bodiless or not has_links(front, response):
        return False
    return response.length is None or response.length <= front.link_bytes


def has_links(front: Front, answer: Headed) -> bool:
    """A whole body of a kind that is looked through, and that can be read."""
    if answer.status == 206 or b"\r\ncontent-encoding:" in answer.low:
        return False
    return (answer.header(b"content-type") or b"").partition(b";")[0].strip(b" \t").lower() in front.link_types


def weakened(head: bytes) -> bytes:
    """Of a body that was changed."""
    return _STRONG.sub(rb"\1W/", _OF_THE_BODY.sub(b"", head))


def rewritten(exchange: Exchange, response: Response, body: bytes) -> tuple[Response, bytes]:
    """The whole answer, with a length of its own."""
    front = exchange.gateway.front
    changed = front.places.hidden(body, front.public(exchange))
    head = _LENGTH.sub(b"", response.head)
    if changed != body:
        head = weakened(head)
    head += b"Content-Length: %d\r\n" % len(changed)
    made = Response(head, head.lower(), response.status)
    made.length = len(changed)
    made.keep_alive = response.keep_alive
    made.connection = response.connection
    return made, changed


class Gathering:
    """Stands in for the relay until the body is complete, or too long."""

    __slots__ = ("_call", "_exchange", "_pieces", "_response", "_size")

    def __init__(self, exchange: Exchange, call: Call, response: Response) -> None:
        self._exchange = exchange
        self._call = call
        self._response = response
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._exchange.gateway.front.link_bytes:
            self._exchange.gateway.meter.count(self._exchange.route.domain, "links_too_long")
            self._call.pass_on(self._response, b"".join(self._pieces), False)

    def end(self, trailers: Sequence[bytes] = ()) -> bool:
        """Trailers belong to the body that is not passed on."""
        self._call.pass_on(*rewritten(self._exchange, self._response, b"".join(self._pieces)), True)
        return False
