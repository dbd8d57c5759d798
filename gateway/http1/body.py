"""The payload of one request on its way to an upstream: counted, and kept while it may have to be sent again."""

from __future__ import annotations

from gateway.http1.chunked import encode_chunk, last_chunk


class Body:
    """`done`: the client has sent all of it. `kept`: its pieces, or None once they are too many to keep."""

    __slots__ = ("_chunked", "_most_kept", "done", "kept", "size", "trailers")

    def __init__(self, chunked: bool, most_kept: int) -> None:
        self._chunked = chunked
        self._most_kept = most_kept
        self.done = False
        self.kept: list[bytes] | None = []
        self.size = 0
        self.trailers = b""  # lines, known when it is done

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.kept is not None:
            self.kept.append(data)

    def after(self, head: bytes) -> bytes:
        """The head and all that has come, framed for the upstream."""
        kept = self.kept
        assert kept is not None, "nothing is sent twice after it was forgotten"
        if self.size > self._most_kept:
            self.kept = None
        if not self._chunked:
            return head + (kept[0] if len(kept) == 1 else b"".join(kept))
        payload = b"".join(kept)
        return head + (encode_chunk(payload) if payload else b"") + (self.end if self.done else b"")

    def more(self, data: bytes) -> bytes:
        """A piece that goes out as it comes, framed for the upstream."""
        if self.size > self._most_kept:
            self.kept = None
        return encode_chunk(data) if self._chunked else data

    @property
    def end(self) -> bytes:
        """What follows the last piece."""
        return last_chunk(self.trailers) if self._chunked else b""


NO_BODY = Body(chunked=False, most_kept=0)  # shared by all requests that have none
NO_BODY.done = True
