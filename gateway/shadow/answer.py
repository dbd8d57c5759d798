"""What a side answered, as far as it is compared: status, headers, payload (unpacked, up to a bound)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from gateway.http1.head import Response

MOST_BODY = 256 * 1024  # bytes, unpacked; a longer response is not compared


class Incomparable(Exception):
    """Too long when unpacked, or broken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`head` and `low` (lower-cased): from the status line to the last header's CRLF."""

    status: int
    head: bytes
    low: bytes
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Of the first header of this (lower-case) name."""
        at = self.low.find(b"\r\n" + name + b":")
        if at < 0:
            return None
        begin = at + len(name) + 3
        return self.head[begin : self.head.index(b"\r\n", begin)].strip(b" \t")

    @property
    def media_type(self) -> str:
        """Without white space, in lower case: `application/json;charset=utf-8`."""
        return (self.header(b"content-type") or b"").decode("latin-1").lower().replace(" ", "")

    @property
    def looks_like_json(self) -> bool:
        return "json" in self.media_type or self.body[:1] in (b"{", b"[")


def answer_of(response: Response, body: bytes) -> Answer:
    """Raises: Incomparable."""
    coding = (response.header(b"content-encoding") or b"").lower()
    if body and coding in (b"gzip", b"x-gzip", b"deflate"):
        body = _unpacked(body)
    return Answer(response.status, response.head, response.low, body)


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=47)  # gzip or zlib, by its head
    try:
        data = unpacker.decompress(body, MOST_BODY + 1)
    except zlib.error as error:
        raise Incomparable(str(error)) from error
    if len(data) > MOST_BODY or not unpacker.eof:
        raise Incomparable("too long when unpacked, or cut off")
    return data
