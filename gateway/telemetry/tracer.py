"""Decides which requests are traced, tells upstreams, and hands over the spans of those that are over.

What is not sampled costs a comparison of bytes and a flag in a header that is made anyway.
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Protocol

import structlog

from gateway.http1.trace import is_valid
from gateway.telemetry.sampling import SAMPLED, Sampler
from gateway.telemetry.spans import Maker
from gateway.telemetry.trace import PARENT, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from gateway.http1.exchange import Exchange

log = structlog.get_logger("gateway.telemetry")

# Where forward.upstream_head puts a traceparent that is ours: it is the last line of the head.
_LINE, _ID, _LOWER_HALF, _FLAGS = slice(-74, -56), slice(-56, -24), slice(-40, -24), -6
_OURS = b"\r\ntraceparent: 00-"


class Destination(Protocol):
    """Where spans go; neither `take` nor `figures` waits for anything."""

    def take(self, span: ReadableSpan) -> None: ...

    def figures(self) -> dict[str, int]: ...

    async def close(self) -> None: ...


class Tracer:
    def __init__(self, sampler: Sampler, maker: Maker, destination: Destination) -> None:
        self._sampler = sampler
        self._bound = sampler.bound
        self._maker = maker
        self._destination = destination

    def figures(self) -> dict[str, int]:
        return self._destination.figures()

    async def close(self) -> None:
        await self._destination.close()

    def begin(self, exchange: Exchange) -> None:
        """The head for the first attempt has been made: with the caller's traceparent, or with a new one of ours."""
        head = exchange.head
        if head[_LINE] == _OURS:
            if head[_LOWER_HALF] >= self._bound:  # as the sampler decides, for nearly every request
                exchange.head = head[:_FLAGS] + b"00\r\n\r\n"
                return
            exchange.trace = Trace(head[_ID], None, SAMPLED)
        else:
            exchange.trace = self._continued(head)
            if exchange.trace is None:
                exchange.head = _unsampled(head)
                return
        exchange.trace.begin_attempt(exchange)

    def _continued(self, head: bytes) -> Trace | None:
        """Of a head with a valid traceparent. None: not sampled."""
        found = PARENT.search(head)
        if found is None:
            return None
        trace_id, parent, flags = found[1], found[2], int(found[3], 16)
        return Trace(trace_id, parent, flags | SAMPLED) if self._sampler.samples(trace_id, flags) else None

    def finished(self, exchange: Exchange, seconds: float) -> None:
        """Never raises: a trace is worth no request."""
        if exchange.trace is None and exchange.head:
            return
        try:
            if not exchange.head:
                exchange.trace = self._of_unsent(exchange)
            if exchange.trace is not None:
                for span in self._maker.spans(exchange, exchange.trace, seconds):
                    self._destination.take(span)
        except Exception:
            log.exception("a request could not be traced", operation=exchange.route.id)

    def _of_unsent(self, exchange: Exchange) -> Trace | None:
        """It was answered here, and never went to an upstream."""
        request = exchange.request
        if b"\r\ntraceparent:" in request.low and is_valid(request.head, request.low):
            return self._continued(request.head)
        trace_id = b"%032x" % (getrandbits(128) or 1)
        return Trace(trace_id, None, SAMPLED) if self._sampler.samples(trace_id, None) else None


def _unsampled(head: bytes) -> bytes:
    """The caller sampled it and we do not: who comes after us would miss its parent."""
    found = PARENT.search(head)
    if found is None or not int(found[3], 16) & SAMPLED:
        return head
    return head[: found.start(3)] + b"%02x" % (int(found[3], 16) & ~SAMPLED) + head[found.end(3) :]
