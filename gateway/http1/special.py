"""Headers of a request that mean something to whoever passes it on: framing, connection, who was before."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.http1.lines import Malformed, all_values

if TYPE_CHECKING:
    from gateway.http1.head import Request

PSEUDONYM = b"banyan"  # our name in Via
MOST_PASSES = 4  # through gateways of this name; two tiers of them are a design, five are a loop

# Headers that need more than being passed on. Most requests have none, and one search says so. A server behind CGI-like
# variables (WSGI is one) reads `_` in a name as `-`: what only we may say must not come in such a disguise.
# Branches begin with what they have in common, which is a fifth of the time of a plain list.
_NAMES = (
    rb"(?:con(?:nection|tent[-_]length)|t(?:ransfer[-_]encoding|railer|e)|keep[-_]alive|proxy[-_][a-z_-]+|upgrade|expect"
    rb"|via|max[-_]forwards|forwarded|x(?:[-_](?:forwarded[-_][a-z_-]+|real[-_]ip|(?:original|rewrite)[-_]url|request_id)"
    rb"|_request-id)|banyan[-_][a-z_-]+):"
)
SPECIAL = re.compile(rb"\r\n" + _NAMES)
_DISGUISED = re.compile(rb"\r\n(?=[a-z-]*_)" + _NAMES)


def read_special(request: Request) -> None:
    if b"_" in request.low and _DISGUISED.search(request.low) is not None:
        raise Malformed(400, "a header's name has an underscore in the place of a hyphen")
    request.takes_trailers = False
    connection = request.header(b"connection")
    if connection is not None:
        tokens = [
            token.strip()
            for token in b",".join(all_values(request.head, request.low, b"connection")).lower().split(b",")
        ]
        if b"close" in tokens:
            request.keep_alive = False
        # Any other protocol would be a way around routing.
        request.upgrade = b"upgrade" in tokens and all_values(request.low, request.low, b"upgrade") == [b"websocket"]
        request.takes_trailers = b"te" in tokens and request.v11 and _takes_trailers(request)
    codings = all_values(request.low, request.low, b"transfer-encoding")
    if codings:
        if codings != [b"chunked"]:
            raise Malformed(501, "the only transfer coding understood is chunked")
        if not request.v11:
            raise Malformed(400, "HTTP/1.0 has no transfer codings")
        request.chunked = True
    length = request.header(b"content-length")
    if length is not None:
        if not length.isdigit() or len(length) > 18:
            raise Malformed(400, "Content-Length is not a number")
        request.length = int(length)
    expected = all_values(request.low, request.low, b"expect")
    if expected:
        if expected != [b"100-continue"]:
            raise Malformed(417, "the only expectation understood is 100-continue")
        request.expects = request.v11 and request.has_body
    request.upgrade = request.upgrade and request.method == b"GET" and request.v11 and not request.has_body
    request.max_forwards = _max_forwards(request) if request.method == b"OPTIONS" else None
    request.forwarded = b"forwarded" in request.low or b"\r\nvia:" in request.low
    if b"\r\nvia:" in request.low and _passes(request) > MOST_PASSES:
        raise Malformed(508, "this request goes round in a circle: it has been here before")


def _takes_trailers(request: Request) -> bool:
    codings = b",".join(all_values(request.low, request.low, b"te")).split(b",")
    return any(coding.strip(b" \t") == b"trailers" for coding in codings)


def _max_forwards(request: Request) -> int | None:
    given = all_values(request.head, request.low, b"max-forwards")
    if not given:
        return None
    if len(given) > 1 or not given[0].isdigit() or len(given[0]) > 9:
        raise Malformed(400, "Max-Forwards is not a number")
    return int(given[0])


def _passes(request: Request) -> int:
    """How often the request has passed a gateway of our name."""
    entries = b",".join(all_values(request.low, request.low, b"via")).split(b",")
    return sum(entry.split()[1:2] == [PSEUDONYM] for entry in entries)
