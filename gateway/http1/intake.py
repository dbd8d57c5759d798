"""The body of one request as it comes from the client: what of a read belongs to it, and when it is complete."""

from __future__ import annotations

from gateway.http1.chunked import ChunkedDecoder


class Intake:
    """`done`: all of it has come. `rest`: what came after it, once done; `trailers`: lines without their CRLF."""

    __slots__ = ("_decoder", "_remaining", "awaited", "done", "rest", "window")

    def __init__(self, length: int, chunked: bool) -> None:
        self._decoder = ChunkedDecoder(strict=True) if chunked else None
        self._remaining = length
        self.awaited = False  # the client waits for a 100 before it sends any of it
        self.done = False
        self.rest = b""
        self.window = 0  # bytes that had come when its present time limit began

    def feed(self, data: bytes) -> bytes:
        """The payload found in `data`. Raises: Malformed (400, 431)."""
        self.awaited = False
        decoder = self._decoder
        if decoder is None:
            piece = data[: self._remaining]
            self._remaining -= len(piece)
            self.done = not self._remaining
            self.rest = data[len(piece) :]
            return piece
        pieces = decoder.feed(data)
        self.done = decoder.done
        self.rest = decoder.rest
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def more(self) -> bool:
        """`feed(b"")` would go on with what it has."""
        return self._decoder is not None and self._decoder.more

    @property
    def trailers(self) -> list[bytes]:
        return [] if self._decoder is None else self._decoder.trailers
