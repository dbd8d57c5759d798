"""The chunked transfer coding (RFC 9112 §7.1), strictly and for any split of the bytes into reads."""

from __future__ import annotations

import re
import sys

from gateway.http1.lines import Malformed

LAST_CHUNK = b"0\r\n\r\n"
MAX_LINE = 256  # bytes of a size line with its extensions
MAX_TRAILERS = 8 * 1024  # bytes
MOST_TRAILERS = 32
MOST_PIECES = 512  # of a client's body in one go: one read has room for 40,000, and everybody else would wait

# RFC 9112 allows white space before `;`, but nobody sends it, and other parsers refuse it.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"([!#-'*+.^-z|~0-9A-Z-]+):[\t -~\x80-\xff]*")
# RFC 9110 §6.5.1: what says where a message ends, where it goes, who sends it or how it is read comes in the head.
_NOT_IN_TRAILERS = re.compile(
    rb"(?i:connection|content-.*|transfer-encoding|te|trailer|upgrade|host|expect|max-forwards|range|if-.*|via|age|date"
    rb"|authorization|proxy-.*|www-authenticate|cookie|set-cookie|cache-control|expires|location|vary|retry-after"
    rb"|keep-alive|forwarded|x-forwarded-.*|x-real-ip|x-request-id|traceparent|tracestate|idempotency-key|banyan-.*)"
)


def last_chunk(trailers: bytes) -> bytes:
    """`trailers`: lines, each with its CRLF."""
    return b"0\r\n" + trailers + b"\r\n" if trailers else LAST_CHUNK


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _bad_size() -> Malformed:
    return Malformed(400, "bad chunk size")


def _too_many() -> Malformed:
    return Malformed(431, "too many trailers")


class ChunkedDecoder:
    """Takes the bytes of a chunked body, gives its payload, and in the end its trailers.

    Trailers that belong in a head are left out. `strict`, for what clients send: they refuse the message; and `feed`
    stops after MOST_PIECES with `more`, to go on by `feed(b"")`.
    """

    __slots__ = ("_buffer", "_most", "_remaining", "_size", "_state", "_strict", "done", "more", "rest", "trailers")

    def __init__(self, *, strict: bool) -> None:
        self._buffer = b""
        self._remaining = 0
        self._size = 0  # of the trailers, also of those left out
        self._state = "size"
        self._strict = strict
        self._most = MOST_PIECES if strict else sys.maxsize
        self.done = False
        self.more = False
        self.rest = b""  # what follows the body, once done
        self.trailers: list[bytes] = []  # lines without their CRLF

    def feed(self, data: bytes) -> list[bytes]:
        """The payload pieces found in `data`. Raises: Malformed (400, 431)."""
        pieces: list[bytes] = []
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at, end = 0, len(data)
        self.more = False
        while at < end and not self.done:
            if self._state == "data":
                if len(pieces) >= self._most:
                    self.more = True
                    break
                piece = data[at : at + self._remaining]
                pieces.append(piece)
                at += len(piece)
                self._remaining -= len(piece)
                if not self._remaining:
                    self._state = "data end"
            elif self._state == "data end":
                if end - at < 2:
                    if data[at:] != b"\r":
                        raise Malformed(400, "a chunk is longer than its size says")
                    break
                if data[at : at + 2] != b"\r\n":
                    raise Malformed(400, "a chunk is longer than its size says")
                at += 2
                self._state = "size"
            else:
                line_end = data.find(b"\n", at)
                if line_end < 0:
                    if self._state == "trailers" and end - at > MAX_TRAILERS:
                        raise _too_many()
                    if self._state == "size" and end - at > MAX_LINE:
                        raise _bad_size()
                    break
                if line_end == at or data[line_end - 1] != 13:
                    raise Malformed(400, "a line of the chunked body does not end with CRLF")
                self._line(data[at : line_end - 1])
                at = line_end + 1
        if self.done:
            self.rest = data[at:]
        else:
            self._buffer = data[at:]
        return pieces

    def _line(self, line: bytes) -> None:
        if self._state == "trailers":
            self._trailer(line)
            return
        match = _SIZE.fullmatch(line) if len(line) <= MAX_LINE else None
        if match is None:
            raise _bad_size()
        self._remaining = int(match[1], 16)
        self._state = "data" if self._remaining else "trailers"

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._size += len(line)
        if self._size > MAX_TRAILERS or len(self.trailers) >= MOST_TRAILERS:
            raise _too_many()
        match = _TRAILER.fullmatch(line)
        if match is None:
            raise Malformed(400, "bad trailers")
        if _NOT_IN_TRAILERS.fullmatch(match[1].replace(b"_", b"-")) is None:
            self.trailers.append(line)
        elif self._strict:
            raise Malformed(400, "a trailer that belongs in the head")
