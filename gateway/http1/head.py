"""Reading the head of a message: llhttp checks the grammar, this module the rules above it.

Headers are looked up in the raw bytes and never turned into objects: a head that llhttp has accepted has CRLF only at
the ends of lines and no white space before a colon, so `\\r\\nname:` finds exactly the header of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

MAX_HEAD = 32 * 1024  # bytes of start line and headers together
MAX_HEADERS = 100
METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS".split())
IDEMPOTENT = frozenset(b"GET HEAD PUT DELETE OPTIONS".split())

# Headers that need more than being passed on. Most requests have none, and one search says so.
_SPECIAL_IN_REQUEST = re.compile(
    rb"\r\n(?:connection|content-length|transfer-encoding|keep-alive|proxy-[a-z-]+|te|trailer|upgrade|expect|forwarded"
    rb"|x-forwarded-[a-z]+|banyan-[a-z-]+):"
)
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_DOTS = re.compile(rb"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


class Malformed(Exception):
    """A message that must not be passed on. `status` is what the client is told; its connection is closed."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)


class _Ignore:
    """llhttp is asked for its verdict only."""


_IGNORE = _Ignore()


def _value(head: bytes, low: bytes, name: bytes) -> bytes | None:
    """The value of the first header of this (lower-case) name."""
    at = low.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    return head[begin : head.index(b"\r\n", begin)].strip(b" \t")


class Request:
    """The head of one request. `head` and `low` (lower-cased) run from the method to the last header's CRLF.

    `claims` is set by who verified the request's token, before it is routed; without it `jwt:` keys are absent.
    """

    claims: Mapping[str, object]
    __slots__ = (
        "chunked", "claims", "expects", "given_id", "head", "host", "keep_alive", "length", "line_end", "low", "method",
        "path", "query", "special", "target", "upgrade", "v11",
    )  # fmt: skip

    def __init__(self, head: bytes, low: bytes, line_end: int, method: bytes, target: bytes, v11: bool) -> None:
        self.head = head
        self.low = low
        self.line_end = line_end
        self.method = method
        self.target = target
        self.host = b""  # empty: an HTTP/1.0 client that sent none
        self.given_id: bytes | None = None  # X-Request-Id as it came
        self.path, _, self.query = target.partition(b"?")
        self.v11 = v11
        self.keep_alive = v11
        self.length = 0
        self.chunked = False
        self.expects = False
        self.upgrade = False
        self.special = False

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    def header(self, name: bytes) -> bytes | None:
        return _value(self.head, self.low, name)

    def cookie(self, name: bytes) -> bytes | None:
        jar = self.header(b"cookie")
        if jar is None:
            return None
        for pair in jar.split(b";"):
            key, _, value = pair.strip().partition(b"=")
            if key == name:
                return value.strip(b'"')
        return None


def parse_request(head: bytes) -> Request:
    """`head` ends with the empty line. Raises: Malformed."""
    try:
        HttpRequestParser(_IGNORE).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise _refusal_of(head, error) from None
    line_end = head.index(b"\r\n")
    try:
        method, target, version = head[:line_end].split(b" ")
    except ValueError:
        raise Malformed(400, "the request line is not: method, one space, target, one space, version") from None
    if version != b"HTTP/1.1" and version != b"HTTP/1.0":
        raise Malformed(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in METHODS:
        raise Malformed(501, "this method is not supported")
    head = head[:-2]
    low = head.lower()
    if len(head) > 4 * MAX_HEADERS and head.count(b"\r\n") > MAX_HEADERS + 1:
        raise Malformed(431, f"more than {MAX_HEADERS} headers")
    if not target.startswith(b"/"):
        target = _origin_form(method, target, low)
    request = Request(head, low, line_end, method, target, version == b"HTTP/1.1")
    if b"#" in target or ((b"/." in target or b"%2" in target) and _DOTS.search(request.path)):
        raise Malformed(400, "the target has a fragment or dot segments")
    _check_host(request)
    if b"\r\nx-request-id:" in low:
        request.given_id = request.header(b"x-request-id")
    if _SPECIAL_IN_REQUEST.search(low) is not None:
        request.special = True
        _read_special(request)
    return request


def _refusal_of(head: bytes, error: Exception) -> Malformed:
    low = head.lower()
    if b"\r\ntransfer-encoding:" in low and b"\r\ncontent-length:" not in low and "Transfer-Encoding" in str(error):
        return Malformed(501, "the only transfer coding understood is chunked")
    return Malformed(400, str(error) or "malformed request")


def _origin_form(method: bytes, target: bytes, low: bytes) -> bytes:
    """RFC 9112 §3.2.2: a server accepts the absolute form; here its authority must be what Host says."""
    if target == b"*" and method == b"OPTIONS":
        return target
    if target[:7].lower() == b"http://":
        authority, slash, rest = target[7:].partition(b"/")
        if authority and _value(low, low, b"host") == authority.lower():
            return slash + rest if slash else b"/"
    raise Malformed(400, "the target is neither a path nor an absolute http URL")


def _check_host(request: Request) -> None:
    at = request.low.find(b"\r\nhost:")
    if at < 0:
        if request.v11:
            raise Malformed(400, "Host is missing")
        return
    if request.low.find(b"\r\nhost:", at + 7) >= 0:
        raise Malformed(400, "Host is given twice")
    host = request.head[at + 7 : request.head.index(b"\r\n", at + 7)].strip(b" \t")
    if not _HOST.fullmatch(host):
        raise Malformed(400, "Host is not a host")
    request.host = host


def _read_special(request: Request) -> None:
    connection = request.header(b"connection")
    if connection is not None:
        tokens = [
            token.strip()
            for token in b",".join(all_values(request.head, request.low, b"connection")).lower().split(b",")
        ]
        if b"close" in tokens:
            request.keep_alive = False
        # Any other protocol would be a way around routing.
        request.upgrade = b"upgrade" in tokens and (request.header(b"upgrade") or b"").lower() == b"websocket"
    coding = request.header(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise Malformed(501, "the only transfer coding understood is chunked")
        if not request.v11:
            raise Malformed(400, "HTTP/1.0 has no transfer codings")
        request.chunked = True
    length = request.header(b"content-length")
    if length is not None:
        if not length.isdigit() or len(length) > 18:
            raise Malformed(400, "Content-Length is not a number")
        request.length = int(length)
    expect = request.header(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise Malformed(417, "the only expectation understood is 100-continue")
        request.expects = request.v11 and request.has_body


def all_values(head: bytes, low: bytes, name: bytes) -> list[bytes]:
    """The values of every header of this name, in order."""
    found = []
    needle = b"\r\n" + name + b":"
    at = low.find(needle)
    while at >= 0:
        begin = at + len(needle)
        found.append(head[begin : head.index(b"\r\n", begin)].strip(b" \t"))
        at = low.find(needle, begin)
    return found


class Response:
    """The head of one response. `length` is None when the body ends with the connection (and it is not chunked)."""

    __slots__ = ("bodiless", "chunked", "connection", "head", "keep_alive", "length", "low", "status")

    def __init__(self, head: bytes, low: bytes, status: int) -> None:
        self.head = head
        self.low = low
        self.status = status
        self.length: int | None = None
        self.chunked = False
        self.keep_alive = True
        self.bodiless = False
        self.connection: bytes | None = None  # the Connection header, lower-cased

    def header(self, name: bytes) -> bytes | None:
        return _value(self.head, self.low, name)


def parse_response(head: bytes, method: bytes) -> Response:
    """`head` ends with the empty line; `method` is that of the request. Raises: Malformed."""
    parser = HttpResponseParser(_IGNORE)
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise Malformed(502, f"the upstream's response is malformed: {error}") from None
    head = head[:-2]
    low = head.lower()
    response = Response(head, low, parser.get_status_code())
    status = response.status
    if not 100 <= status <= 599:
        raise Malformed(502, f"the upstream's status {status} does not exist")
    if not low.startswith(b"http/1.1 "):
        if not low.startswith(b"http/1.0 "):
            raise Malformed(502, "the upstream does not speak HTTP/1.1")
        response.keep_alive = False
    at = low.find(b"\r\nconnection:")
    if at >= 0:
        response.connection = low[at + 13 : low.index(b"\r\n", at + 13)].strip(b" \t")
        if b"close" in response.connection:
            response.keep_alive = False
    if b"\r\ntransfer-encoding:" in low:
        if (response.header(b"transfer-encoding") or b"").lower() != b"chunked":
            raise Malformed(502, "the upstream uses a transfer coding other than chunked")
        response.chunked = True
    else:
        at = low.find(b"\r\ncontent-length:")
        if at >= 0:
            response.length = int(low[at + 17 : low.index(b"\r\n", at + 17)])
    if method == b"HEAD" or status == 204 or status == 304 or status < 200:
        response.bodiless = True
    return response
