"""What is kept of a sampled request until it is over: its ids, and when each attempt at an upstream began and ended.

No span object lives as long as a request: the spans are made of this, and of what an exchange records anyway, when it
is over (`spans`). Requests that are not sampled have none of this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import getrandbits
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.policies.retry import Cause

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange
    from gateway.routing.decision import Decision

MOST_EVENTS = 32  # of one request
MOST_ATTEMPTS = 32

PARENT = re.compile(
    rb"\r\n(?i:traceparent):[ \t]*[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})[^\r]*",
)


class Event(NamedTuple):
    """`at`: perf_counter; `seconds`: how long it lasted."""

    at: float
    name: str
    seconds: float | None = None


def note(exchange: Exchange, name: str, at: float = 0.0, seconds: float | None = None) -> None:
    """For the trace that there may be of this request; whether there is one is often not known yet."""
    if exchange.gateway.tracer is not None and len(exchange.events) < MOST_EVENTS:
        exchange.events += (Event(at or perf_counter(), name, seconds),)


class Server(Protocol):
    """Of an upstream, as far as a span tells of it."""

    url: str
    host: str
    port: int


def new_id() -> bytes:
    """Of a span."""
    return b"%016x" % (getrandbits(64) or 1)


class Attempt:
    """One try at one server. `status` 0: it gave no answer; `cause`: why it failed."""

    __slots__ = ("cause", "decision", "ended", "endpoint", "number", "span_id", "started", "status")

    def __init__(self, span_id: bytes, number: int, decision: Decision) -> None:
        self.span_id = span_id
        self.number = number  # 1: the first
        self.decision = decision
        self.started = perf_counter()
        self.ended = 0.0
        self.endpoint: Server | None = None
        self.status = 0
        self.cause = ""


class Trace:
    __slots__ = ("attempts", "flags", "parent", "span_id", "trace_id")

    def __init__(self, trace_id: bytes, parent: bytes | None, flags: int) -> None:
        """`parent`: the caller's span; `flags`: that go on."""
        self.trace_id = trace_id
        self.parent = parent
        self.flags = flags
        self.span_id = new_id()
        self.attempts: list[Attempt] = []

    def begin_attempt(self, exchange: Exchange) -> None:
        """The upstream gets the id of this attempt's span as its parent. Called before a server is picked."""
        self.end_attempt(exchange)
        attempt = Attempt(new_id(), exchange.attempts, exchange.decision)
        if len(self.attempts) < MOST_ATTEMPTS:
            self.attempts.append(attempt)
        line = b"\r\ntraceparent: 00-%b-%b-%02x" % (self.trace_id, attempt.span_id, self.flags)
        exchange.head = PARENT.sub(line, exchange.head, count=1)
        if exchange.bare:
            exchange.bare = PARENT.sub(line, exchange.bare, count=1)

    def answered(self, status: int) -> None:
        """By a server, with what may not be passed on."""
        if self.attempts:
            self.attempts[-1].status = status

    def failed(self, exchange: Exchange, cause: Cause) -> None:
        """What failed may also be a try that has not begun; the one before it has ended then."""
        attempt = self.attempts[-1] if self.attempts else None
        if attempt is not None and not attempt.ended and not attempt.status:
            attempt.cause = cause.word
        self.end_attempt(exchange)

    def end_attempt(self, exchange: Exchange) -> None:
        attempt = self.attempts[-1] if self.attempts else None
        if attempt is not None and not attempt.ended:
            attempt.ended = perf_counter()
            attempt.endpoint = exchange.endpoint

    def finish(self, exchange: Exchange) -> Sequence[Attempt]:
        """The exchange is over, and with it the attempt whose answer went to the client."""
        attempt = self.attempts[-1] if self.attempts else None
        if attempt is not None and not attempt.ended:
            attempt.status = exchange.status
            if exchange.trouble is not None:
                attempt.cause = exchange.trouble.word
            elif exchange.gone:
                attempt.cause = LEFT
            self.end_attempt(exchange)
        return self.attempts


LEFT = "client-left"
