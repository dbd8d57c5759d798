"""What can be refused of a request's head before all of it has come."""

from __future__ import annotations

from gateway.http1.head import MAX_HEAD
from gateway.http1.lines import Malformed

_FIRST = frozenset(
    bytes([byte]) for byte in b"\r0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+.^_`|~-"
)


def refusal_of_part(data: bytes) -> Malformed | None:
    """`data`: what has come of a head, without its end."""
    if len(data) > MAX_HEAD:
        return too_long(data)
    if data and data[:1] not in _FIRST:
        return Malformed(400, "this does not begin like an HTTP request")
    if data.count(b"\n") != data.count(b"\r\n"):
        return Malformed(400, "a line ends with a bare LF")
    return None


def too_long(data: bytes) -> Malformed:
    if data.find(b"\r\n", 0, MAX_HEAD) < 0:
        return Malformed(414, f"the request line is longer than {MAX_HEAD} bytes")
    return Malformed(431, f"the head is longer than {MAX_HEAD} bytes")
