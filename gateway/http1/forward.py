"""The heads that go out: what is taken from a message before it is passed on, and what is added."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.facade.answers import NAMES
from gateway.http1.head import Request, Response, all_values
from gateway.http1.trace import is_valid, new_traceparent, without_trace

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange

# RFC 9110 §7.6.1; what only a gateway may say; and what makes some servers take another path than the one we routed by.
_FROM_REQUEST = (
    rb"\r\n(?:connection|keep-alive|proxy-[a-z-]+|te|transfer-encoding|upgrade|expect|forwarded"
    rb"|x-forwarded-[a-z-]+|x-real-ip|x-original-url|x-rewrite-url|banyan-(?:route|shadow|owner|epoch|identity|override)):[^\r]*"
)
_FROM_RESPONSE = (
    rb"\r\n(?:connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|banyan-route|x-request-id)"
    rb":[^\r]*"
)
_HOP_BY_HOP_REQUEST = re.compile(_FROM_REQUEST, re.IGNORECASE)
_HOP_BY_HOP_RESPONSE = re.compile(_FROM_RESPONSE, re.IGNORECASE)
# Most heads have none of these; to see it in the lower-cased head costs half as much.
_LOW_HOP_BY_HOP_REQUEST = re.compile(_FROM_REQUEST)
_LOW_HOP_BY_HOP_RESPONSE = re.compile(_FROM_RESPONSE)
_TELLS = re.compile(rb"\r\n(?:" + NAMES + rb"):")  # may tell where a backend lives
# A client may not have these taken away by naming them in Connection.
_NEVER_DROPPED = frozenset(
    b"host content-length content-type authorization cookie x-request-id traceparent via idempotency-key banyan-dry-run"
    b" close keep-alive".split()
) | {b""}
_PLAIN = (b"close", b"keep-alive")  # nothing to look up
_OWN_REQUEST_ID = re.compile(rb"\r\nx-request-id:[^\r]*", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_TRAILER = re.compile(rb"\r\ntrailer:[^\r]*", re.IGNORECASE)
_MAX_FORWARDS = re.compile(rb"\r\nmax-forwards:[^\r]*", re.IGNORECASE)


def upstream_head(request: Request, lines: bytes, request_id: bytes, authority: bytes, extra: bytes = b"") -> bytes:
    """The request's head for the upstream, with its empty line.

    `lines` say who it came from (`hops`); `authority` serves a client that sent no Host.
    """
    low = request.low
    if not request.host:
        extra += b"Host: " + authority + b"\r\n"
    if request.special:
        headers = _special_headers(request)
        extra += _special_lines(request)
    else:
        headers = request.head[request.line_end :]
    if request.given_id != request_id:
        if request.given_id is not None:
            headers = _OWN_REQUEST_ID.sub(b"", headers)
        extra += b"X-Request-Id: " + request_id + b"\r\n"
    if b"\r\ntraceparent:" not in low:
        extra += new_traceparent()  # the last line: telemetry.tracer finds it there
    elif not is_valid(request.head, low):
        headers = without_trace(headers)
        extra += new_traceparent()
    return b"%b %b HTTP/1.1%b%b%b\r\n" % (request.method, request.target, headers, lines, extra)


def _special_headers(request: Request) -> bytes:
    head, low = request.head, request.low
    if _LOW_HOP_BY_HOP_REQUEST.search(low) is not None:
        head = _HOP_BY_HOP_REQUEST.sub(b"", _without_nominated(head, low))
    if not request.chunked and b"\r\ntrailer:" in low:
        head = _TRAILER.sub(b"", head)
    if request.max_forwards is not None:
        head = _MAX_FORWARDS.sub(b"", head)
    return head[request.line_end :]


def _special_lines(request: Request) -> bytes:
    lines = b""
    if request.chunked:
        lines += b"Transfer-Encoding: chunked\r\n"
    if request.expects:
        lines += b"Expect: 100-continue\r\n"
    if request.max_forwards is not None:
        lines += b"Max-Forwards: %d\r\n" % max(0, request.max_forwards - 1)
    if request.upgrade:
        lines += b"Connection: upgrade\r\nUpgrade: " + (request.header(b"upgrade") or b"") + b"\r\n"
    elif request.takes_trailers:
        lines += b"Connection: TE\r\nTE: trailers\r\n"
    return lines


def _without_nominated(head: bytes, low: bytes) -> bytes:
    if b"\r\nconnection:" not in low:
        return head
    named = {token.strip().lower() for value in all_values(head, low, b"connection") for token in value.split(b",")}
    # Only those that are there: a head has room for thousands of names, and each costs a search of its own.
    there = {line.partition(b":")[0] for line in low.split(b"\r\n")[1:]}
    for name in (named & there) - _NEVER_DROPPED:
        head = re.sub(rb"(?i)\r\n" + re.escape(name) + rb":[^\r]*", b"", head)
    return head


def client_head(response: Response, extra: bytes, exchange: Exchange | None = None) -> bytes:
    """The response's head for the client, with its empty line. `extra`: framing and the gateway's own headers."""
    head = response.head
    if response.connection is not None and response.connection not in _PLAIN:
        head = _without_nominated(head, response.low)
    if response.connection is not None or _LOW_HOP_BY_HOP_RESPONSE.search(response.low) is not None:
        head = _HOP_BY_HOP_RESPONSE.sub(b"", head)
    if exchange is not None and _TELLS.search(response.low) is not None:
        head = exchange.gateway.front.shown(exchange, head)
    return b"HTTP/1.1" + head[8:] + extra + b"\r\n"


def usable_request_id(given: bytes | None) -> bytes | None:
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None
