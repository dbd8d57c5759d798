"""The upstream side of the pair: one kept-alive connection that carries one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast

from gateway.http1.chunked import ChunkedDecoder
from gateway.http1.head import MAX_HEAD, Malformed, Response, parse_response
from gateway.policies.retry import Cause

MOST_INFORMATIONAL = 16  # responses before the real one
_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL = range(5)


class Sink(Protocol):
    """Who asked, and gets the response. Every call but the last may be followed by on_lost."""

    def on_response(self, response: Response, body: bytes, done: bool) -> None:
        """The head and what came of the payload with it."""

    def on_body(self, data: bytes) -> None: ...

    def on_end(self, trailers: Sequence[bytes] = ()) -> None:
        """`trailers`: lines without their CRLF."""

    def on_informational(self, response: Response) -> None:
        """1xx, but not 101: the response itself is still to come."""

    def on_lost(self, cause: Cause) -> None:
        """The connection is gone before the response was complete."""

    def on_switched(self, response: Response, rest: bytes) -> None:
        """101: from now on on_body gets raw bytes."""

    def on_upstream_full(self, full: bool) -> None:
        """Stop (or go on) sending request body."""


class Owner(Protocol):
    """Who counts the connections and hands them out again."""

    def on_made(self) -> None: ...

    def on_free(self, connection: UpstreamConnection, reusable: bool) -> None: ...

    def on_gone(self, connection: UpstreamConnection) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    __slots__ = (
        "_buffer", "_decoder", "_informational", "_method", "_mode", "_owner", "_remaining", "_reusable", "_sending",
        "answered", "idle_since", "sink", "transport", "used",
    )  # fmt: skip
    transport: asyncio.Transport  # since the connection was made

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._buffer = b""
        self._decoder: ChunkedDecoder | None = None
        self._informational = 0
        self._method = b""
        self._mode = _HEAD
        self._remaining = 0
        self._reusable = True
        self._sending = False
        self.answered = False
        self.idle_since = 0.0
        self.sink: Sink | None = None
        self.used = False  # carried a request before: the server may have been closing it when we sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._owner.on_made()

    def send(self, sink: Sink, method: bytes, data: bytes, *, more: bool) -> None:
        """`more`: the request's body is not complete yet."""
        self.sink = sink
        self._sending = more
        self._method = method
        self._mode = _HEAD
        self._informational = 0
        self.answered = False
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def write_end(self, data: bytes) -> None:
        self._sending = False
        if data:
            self.transport.write(data)

    def abandon(self) -> None:
        """The response is no longer wanted."""
        self.sink = None
        self.transport.abort()

    def pause_writing(self) -> None:
        if self.sink is not None:
            self.sink.on_upstream_full(True)

    def resume_writing(self) -> None:
        if self.sink is not None:
            self.sink.on_upstream_full(False)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:  # bytes that nobody asked for: this connection cannot be trusted with another request
            self.transport.abort()
            return
        mode = self._mode
        if mode == _HEAD:
            self._on_head(sink, data)
        elif mode == _LENGTH:
            self._remaining -= len(data)
            if self._remaining > 0:
                sink.on_body(data)
            else:
                self._free(self._reusable and not self._remaining)
                sink.on_body(data if not self._remaining else data[: self._remaining])
                sink.on_end()
        elif mode == _CHUNKED:
            self._on_chunked(sink, data)
        else:
            sink.on_body(data)

    def _on_head(self, sink: Sink, data: bytes) -> None:
        self.answered = True
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            if len(data) > MAX_HEAD:
                self._break()
            else:
                self._buffer = data
            return
        self._buffer = b""
        try:
            if end > MAX_HEAD:
                raise Malformed(502, f"the upstream's head is longer than {MAX_HEAD} bytes")
            response = parse_response(data[:end], self._method)
        except Malformed:
            self._break()
            return
        body = data[end:]
        self._reusable = response.keep_alive
        if response.status < 200:
            self._on_informational(sink, response, body)
        elif response.bodiless:
            self._free(response.keep_alive and not body)
            sink.on_response(response, b"", True)
        elif response.chunked:
            self._mode = _CHUNKED
            self._decoder = ChunkedDecoder(strict=False)
            sink.on_response(response, b"", False)
            if body and self.sink is sink:
                self._on_chunked(sink, body)
        elif response.length is None:
            self._mode = _UNTIL_CLOSE
            sink.on_response(response, body, False)
        else:
            self._remaining = response.length - len(body)
            if self._remaining <= 0:
                self._free(response.keep_alive and not self._remaining)
                sink.on_response(response, body if not self._remaining else body[: response.length], True)
            else:
                self._mode = _LENGTH
                sink.on_response(response, body, False)

    def _on_informational(self, sink: Sink, response: Response, rest: bytes) -> None:
        if response.status == 101:
            self._mode = _TUNNEL
            sink.on_switched(response, rest)
            return
        self._informational += 1
        if self._informational > MOST_INFORMATIONAL:
            self._break()
            return
        sink.on_informational(response)
        if rest and self.sink is sink:
            self._on_head(sink, rest)

    def _on_chunked(self, sink: Sink, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None
        try:
            pieces = decoder.feed(data)
        except Malformed:
            self._break()
            return
        if decoder.done:
            self._free(self._reusable and not decoder.rest)
        if pieces:
            sink.on_body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if decoder.done:
            sink.on_end(decoder.trailers)

    def _free(self, reusable: bool) -> None:
        self.sink = None
        self._decoder = None
        self._mode = _HEAD
        self.used = True
        self._owner.on_free(self, reusable and not self._sending)

    def _break(self) -> None:
        """The answer is malformed: nothing after it can be understood."""
        sink, self.sink = self.sink, None
        self.transport.abort()
        if sink is not None:
            sink.on_lost(Cause.BROKEN)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.on_gone(self)
        sink, self.sink = self.sink, None
        if sink is None:
            return
        if self._mode == _TUNNEL or (self._mode == _UNTIL_CLOSE and error is None):
            sink.on_end()
        else:
            sink.on_lost(Cause.LOST if self.answered or not self.used else Cause.STALE)
