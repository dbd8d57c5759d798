"""The chunked transfer coding (RFC 9112 §7.1), strictly and for any split of the bytes into reads."""

from __future__ import annotations

import re

from gateway.http1.head import Malformed

LAST_CHUNK = b"0\r\n\r\n"
MAX_LINE = 256  # bytes of a size line with its extensions
MAX_TRAILERS = 8 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#-'*+.^-z|~0-9A-Z-]+:[\t -~\x80-\xff]*")


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkedDecoder:
    """Takes the bytes of a chunked body, gives its payload. Trailers are checked and dropped (RFC 9110 §6.5.1)."""

    __slots__ = ("_buffer", "_remaining", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._remaining = 0
        self._state = "size"
        self._trailers = 0
        self.done = False
        self.rest = b""  # what follows the body, once done

    def feed(self, data: bytes) -> list[bytes]:
        """The payload pieces found in `data`. Raises: Malformed (400)."""
        pieces: list[bytes] = []
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._state == "data":
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
                    if end - at > MAX_LINE + MAX_TRAILERS * (self._state == "trailers"):
                        raise Malformed(400, "a line of the chunked body is too long")
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
            self._trailers += len(line)
            if not line:
                self.done = True
            elif self._trailers > MAX_TRAILERS or not _TRAILER.fullmatch(line):
                raise Malformed(400, "bad trailers")
            return
        match = _SIZE.fullmatch(line) if len(line) <= MAX_LINE else None
        if match is None:
            raise Malformed(400, "bad chunk size")
        self._remaining = int(match[1], 16)
        self._state = "data" if self._remaining else "trailers"
