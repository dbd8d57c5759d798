"""Reading the head of a message: llhttp checks the grammar, this module and `special` the rules above it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from gateway.http1.lines import Malformed, all_values, value_of
from gateway.http1.special import SPECIAL, read_special

__all__ = [
    "HOST", "IDEMPOTENT", "MAX_HEAD", "METHODS", "Malformed", "Request", "Response", "all_values", "parse_request",
    "parse_response",
]  # fmt: skip

MAX_HEAD = 32 * 1024  # bytes of start line and headers together
MAX_HEADERS = 100
METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS".split())
IDEMPOTENT = frozenset(b"GET HEAD PUT DELETE OPTIONS".split())

HOST = re.compile(rb"[A-Za-z0-9._~%-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_GOOD_HOSTS: set[bytes] = set()  # most requests are for one of few hosts, and to look one up costs a third
_MOST_LINES = 256
# What two servers may take for two different paths: dot segments, hidden separators, broken escapes.
_AMBIGUOUS = re.compile(
    rb"/(?:\.|%2e){1,2}(?:[/;]|$)|%2f|%5c|\\|%00|%(?![0-9a-f]{2})",
    re.IGNORECASE,
)
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[^\r]*", re.IGNORECASE)
# llhttp lets anything be the reason phrase, which goes on to the client.
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9](?: [\t -~\x80-\xff]*)?")
_GOOD_STATUS_LINES: set[bytes] = set()  # of HTTP/1.1
_REQUEST_LINE = re.compile(rb"([!#-'*+.^-z|~0-9A-Z-]+) [!-~]+ HTTP/([0-9]\.[0-9])\r\n")


def _bad_line() -> Malformed:
    return Malformed(400, "the request line is not: method, one space, target, one space, version")


def _bad_version() -> Malformed:
    return Malformed(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")


def _bad_method() -> Malformed:
    return Malformed(501, "this method is not supported")


class _Ignore:
    """llhttp is asked for its verdict only."""


_IGNORE = _Ignore()


class Request:
    """The head of one request. `head` and `low` (lower-cased) run from the method to the last header's CRLF.

    `claims` is set by who verified the request's token, before it is routed; without it `jwt:` keys are absent.
    """

    claims: Mapping[str, object]
    __slots__ = (
        "chunked", "claims", "expects", "forwarded", "given_id", "head", "host", "keep_alive", "length", "line_end",
        "low", "max_forwards", "method", "path", "query", "special", "takes_trailers", "target", "upgrade", "v11",
    )  # fmt: skip
    # Only of a special one:
    forwarded: bool  # somebody before us says who it came from
    max_forwards: int | None  # of an OPTIONS
    takes_trailers: bool

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
        self.expects = False  # the client waits for a 100 before it sends its body
        self.upgrade = False
        self.special = False

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    def header(self, name: bytes) -> bytes | None:
        return value_of(self.head, self.low, name)

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
        raise _bad_line() from None
    if version != b"HTTP/1.1" and version != b"HTTP/1.0":
        raise _bad_version() if _REQUEST_LINE.match(head) else _bad_line()
    if method not in METHODS:
        raise _bad_method() if _REQUEST_LINE.match(head) else _bad_line()
    head = head[:-2]
    low = head.lower()
    if len(head) > 4 * MAX_HEADERS and head.count(b"\r\n") > MAX_HEADERS + 1:
        raise Malformed(431, f"more than {MAX_HEADERS} headers")
    if not target.startswith(b"/"):
        target = _origin_form(method, target, low)
    request = Request(head, low, line_end, method, target, version == b"HTTP/1.1")
    if b"#" in target:
        raise Malformed(400, "the target has a fragment")
    if (b"%" in target or b"/." in target or b"\\" in target) and _AMBIGUOUS.search(request.path) is not None:
        raise Malformed(400, "the path has dot segments, a hidden separator or a broken escape")
    _check_host(request)
    if b"\r\nx-request-id:" in low:
        twice = low.count(b"\r\nx-request-id:") > 1
        request.given_id = b"" if twice else request.header(b"x-request-id")
    if SPECIAL.search(low) is not None:
        request.special = True
        read_special(request)
    return request


def _refusal_of(head: bytes, error: Exception) -> Malformed:
    """What llhttp calls an error may have a status of its own."""
    if head.count(b"\n") != head.count(b"\r\n"):  # first, since it is also seen before the head is complete
        return Malformed(400, "a line ends with a bare LF")
    low = head.lower()
    line = _REQUEST_LINE.match(head)
    if line is not None and line[2] not in (b"1.0", b"1.1"):
        return _bad_version()
    if line is not None and line[1] not in METHODS:
        return _bad_method()
    if b"\r\ntransfer-encoding:" in low and b"\r\ncontent-length:" not in low and "Transfer-Encoding" in str(error):
        return Malformed(501, "the only transfer coding understood is chunked")
    return Malformed(400, str(error) or "malformed request")


def _origin_form(method: bytes, target: bytes, low: bytes) -> bytes:
    """RFC 9112 §3.2.2: a server accepts the absolute form; here its authority must be what Host says."""
    if target == b"*" and method == b"OPTIONS":
        return target
    if target[:7].lower() == b"http://":
        authority, slash, rest = target[7:].partition(b"/")
        if authority and value_of(low, low, b"host") == authority.lower():
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
    if host not in _GOOD_HOSTS:
        if not HOST.fullmatch(host):
            raise Malformed(400, "Host is not a host")
        if len(_GOOD_HOSTS) < _MOST_LINES:
            _GOOD_HOSTS.add(host)
    request.host = host


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
        return value_of(self.head, self.low, name)


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
    if len(head) > 4 * MAX_HEADERS and head.count(b"\r\n") > MAX_HEADERS + 1:
        raise Malformed(502, f"the upstream's response has more than {MAX_HEADERS} headers")
    low = head.lower()
    response = Response(head, low, parser.get_status_code())
    status = response.status
    line = head[: head.index(b"\r\n")]
    if line not in _GOOD_STATUS_LINES:
        if _STATUS_LINE.fullmatch(line) is None:
            raise Malformed(502, f"the upstream's status line is not one of HTTP/1.1: {status}")
        if line.startswith(b"HTTP/1.0"):
            response.keep_alive = False
        elif len(_GOOD_STATUS_LINES) < _MOST_LINES:
            _GOOD_STATUS_LINES.add(line)
    at = low.find(b"\r\nconnection:")
    if at >= 0:
        response.connection = low[at + 13 : low.index(b"\r\n", at + 13)].strip(b" \t")
        if low.find(b"\r\nconnection:", at + 13) >= 0:
            response.connection = b",".join(all_values(low, low, b"connection"))
        if b"close" in response.connection:
            response.keep_alive = False
    if b"\r\ntransfer-encoding:" in low:
        if all_values(low, low, b"transfer-encoding") != [b"chunked"] or low.startswith(b"http/1.0 "):
            raise Malformed(502, "the upstream uses a transfer coding other than chunked, or in HTTP/1.0")
        response.chunked = True
    else:
        at = low.find(b"\r\ncontent-length:")
        if at >= 0:
            response.length = int(low[at + 17 : low.index(b"\r\n", at + 17)])
    if method == b"HEAD" or status == 204 or status == 304 or status < 200:
        response.bodiless = True
        if status == 204 and response.length is not None:  # RFC 9110 §8.6: has none
            response.head = _CONTENT_LENGTH.sub(b"", head)
    return response
