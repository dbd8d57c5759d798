"""The spans of a request that is over, by the HTTP semantic conventions 1.x: SERVER, and CLIENT for each attempt.

Neither query strings nor headers are among the attributes: they may carry what is private.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import lru_cache
from time import perf_counter, time_ns
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from gateway.http1.lines import all_values
from gateway.telemetry.trace import LEFT, Attempt, Trace

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange
    from gateway.http1.head import Request

LONGEST = 1024  # characters of an attribute
SCOPE = InstrumentationScope("banyan.gateway", schema_url="https://opentelemetry.io/schemas/1.37.0")

Attributes = dict[str, str | int]
_FAILED, _UNSET = Status(StatusCode.ERROR), Status(StatusCode.UNSET)


class Maker:
    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def spans(self, exchange: Exchange, trace: Trace, seconds: float) -> Iterator[ReadableSpan]:
        """`seconds`: what the whole request took."""
        attempts = trace.finish(exchange)
        state = _state(exchange.request) if trace.parent is not None else None
        to_ns = _Clock()
        server = _context(trace, trace.span_id, state)
        caller = None if trace.parent is None else _context(trace, trace.parent, state, remote=True)
        failed = exchange.status >= 500 or (exchange.trouble is not None)
        yield ReadableSpan(
            _name(exchange),
            server,
            caller,
            self._resource,
            _of_server(exchange),
            [
                SpanEvent(e.name, None if e.seconds is None else {"banyan.waited_ms": e.seconds * 1e3}, to_ns(e.at))
                for e in exchange.events
            ],
            kind=SpanKind.SERVER,
            status=_FAILED if failed else _UNSET,
            start_time=to_ns(exchange.started),
            end_time=to_ns(exchange.started + seconds),
            instrumentation_scope=SCOPE,
        )
        for attempt in attempts:
            yield ReadableSpan(
                _name(exchange),
                _context(trace, attempt.span_id, state),
                server,
                self._resource,
                _of_client(exchange, attempt),
                kind=SpanKind.CLIENT,
                status=_FAILED if attempt.cause or attempt.status >= 400 else _UNSET,
                start_time=to_ns(attempt.started),
                end_time=to_ns(attempt.ended),
                instrumentation_scope=SCOPE,
            )


class _Clock:
    """Turns times of perf_counter, which never goes back, into nanoseconds since 1970."""

    def __init__(self) -> None:
        self._counter, self._ns = perf_counter(), time_ns()

    def __call__(self, at: float) -> int:
        return self._ns - int((self._counter - at) * 1e9)


def _context(trace: Trace, span_id: bytes, state: TraceState | None, *, remote: bool = False) -> SpanContext:
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, TraceFlags(trace.flags), state)


def _state(request: Request) -> TraceState | None:
    if b"\r\ntracestate:" not in request.low:
        return None
    given = all_values(request.head, request.low, b"tracestate")
    return TraceState.from_header([value.decode("latin-1") for value in given])


def _name(exchange: Exchange) -> str:
    method, template = exchange.request.method.decode(), exchange.route.template
    return f"{method} {template}" if template else method


def _of_server(exchange: Exchange) -> Attributes:
    request, decision, route = exchange.request, exchange.decision, exchange.route
    found: Attributes = {
        "http.request.method": request.method.decode(),
        "url.path": _text(request.path),
        "url.scheme": exchange.client.hops.scheme.decode(),
        "network.protocol.version": "1.1" if request.v11 else "1.0",
        "banyan.domain": decision.domain,
        "banyan.operation": route.id,
        "banyan.side": decision.side,
        "banyan.reason": decision.reason,
        "banyan.route_version": exchange.router.version,
        "banyan.request_id": _text(exchange.request_id),
    }
    if route.template:
        found["http.route"] = route.template
    host, _, port = request.host.decode("latin-1").rpartition(":")
    if port.isdecimal() and host:
        found["server.address"], found["server.port"] = host, int(port)
    elif request.host:
        found["server.address"] = _text(request.host)
    if exchange.status:
        found["http.response.status_code"] = exchange.status
    if exchange.trouble is not None:
        found["error.type"] = exchange.trouble.word
    elif exchange.gone:
        found["error.type"] = LEFT
    elif exchange.status >= 500:
        found["error.type"] = str(exchange.status)
    return found


def _of_client(exchange: Exchange, attempt: Attempt) -> Attributes:
    request, decision, endpoint = exchange.request, attempt.decision, attempt.endpoint
    found: Attributes = {
        "http.request.method": request.method.decode(),
        "banyan.domain": decision.domain,
        "banyan.side": decision.side,
        "banyan.reason": decision.reason,
        "banyan.upstream": decision.upstream,
        "banyan.attempt": attempt.number,
    }
    if exchange.route.template:
        found["url.template"] = exchange.route.template
    if attempt.number > 1:
        found["http.request.resend_count"] = attempt.number - 1
    if endpoint is not None:
        found["url.full"] = endpoint.url.rstrip("/") + _text(request.path)
        found["server.address"], found["server.port"] = endpoint.host, endpoint.port
        if _is_address(endpoint.host):
            found["network.peer.address"], found["network.peer.port"] = endpoint.host, endpoint.port
    if attempt.status:
        found["http.response.status_code"] = attempt.status
    if attempt.cause or attempt.status >= 400:
        found["error.type"] = attempt.cause or str(attempt.status)
    return found


@lru_cache(1024)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _text(raw: bytes) -> str:
    return raw[:LONGEST].decode("ascii", "backslashreplace")
