"""The heads that go out: what is taken from a message before it is passed on, and what is added."""

from __future__ import annotations

import re
from random import getrandbits

from gateway.http1.head import Request, Response, all_values

# RFC 9110 §7.6.1, and what only a gateway may say.
_FROM_REQUEST = (
    rb"\r\n(?:connection|keep-alive|proxy-[a-z-]+|te|trailer|transfer-encoding|upgrade|expect|forwarded"
    rb"|x-forwarded-(?:for|proto|host)|banyan-(?:route|shadow|owner|epoch)):[^\r]*"
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
# A client may not have these taken away by naming them in Connection.
_NEVER_DROPPED = frozenset(
    (b"host", b"content-length", b"authorization", b"cookie", b"x-request-id", b"close", b"keep-alive", b"")
)
_PLAIN = (b"close", b"keep-alive")  # nothing to look up
_OWN_REQUEST_ID = re.compile(rb"\r\nx-request-id:[^\r]*", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


def forwarding_lines(peer: bytes) -> bytes:
    """What is added for every request of a connection; made once."""
    return b"X-Forwarded-For: " + peer + b"\r\nX-Forwarded-Proto: http\r\n"


def upstream_head(request: Request, lines: bytes, request_id: bytes, authority: bytes, extra: bytes = b"") -> bytes:
    """The request's head for the upstream, with its empty line; `authority` serves a client that sent no Host."""
    head, low = request.head, request.low
    if not request.host:
        extra += b"Host: " + authority + b"\r\n"
    else:
        extra += b"X-Forwarded-Host: " + request.host + b"\r\n"
    if request.special:
        lines = _after_earlier_hops(request, lines)
        if _LOW_HOP_BY_HOP_REQUEST.search(low) is not None:
            head = _HOP_BY_HOP_REQUEST.sub(b"", _without_nominated(head, low))
        headers = head[request.line_end :]
        if request.chunked:
            extra += b"Transfer-Encoding: chunked\r\n"
        if request.upgrade:
            extra += b"Connection: upgrade\r\nUpgrade: " + (request.header(b"upgrade") or b"") + b"\r\n"
    else:
        headers = head[request.line_end :]
    if request.given_id != request_id:
        if request.given_id is not None:
            headers = _OWN_REQUEST_ID.sub(b"", headers)
        extra += b"X-Request-Id: " + request_id + b"\r\n"
    if b"\r\ntraceparent:" not in low:
        extra += b"traceparent: 00-%032x-%016x-01\r\n" % (getrandbits(128) or 1, getrandbits(64) or 1)
    return b"%b %b HTTP/1.1%b%b%b\r\n" % (request.method, request.target, headers, lines, extra)


def _after_earlier_hops(request: Request, lines: bytes) -> bytes:
    earlier = all_values(request.head, request.low, b"x-forwarded-for")
    if not earlier:
        return lines
    return lines.replace(b"X-Forwarded-For: ", b"X-Forwarded-For: " + b", ".join(earlier) + b", ", 1)


def _without_nominated(head: bytes, low: bytes) -> bytes:
    if b"\r\nconnection:" not in low:
        return head
    named = {token.strip().lower() for value in all_values(head, low, b"connection") for token in value.split(b",")}
    for name in named - _NEVER_DROPPED:
        head = re.sub(rb"(?i)\r\n" + re.escape(name) + rb":[^\r]*", b"", head)
    return head


def client_head(response: Response, extra: bytes) -> bytes:
    """The response's head for the client, with its empty line. `extra`: framing and the gateway's own headers."""
    head = response.head
    if response.connection is not None and response.connection not in _PLAIN:
        head = _without_nominated(head, response.low)
    if response.connection is not None or _LOW_HOP_BY_HOP_RESPONSE.search(response.low) is not None:
        head = _HOP_BY_HOP_RESPONSE.sub(b"", head)
    return b"HTTP/1.1" + head[8:] + extra + b"\r\n"


def usable_request_id(given: bytes | None) -> bytes | None:
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None
