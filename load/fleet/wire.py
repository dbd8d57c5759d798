"""One request at a time over one kept connection, by callbacks: ten thousand of these must not be what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from load.connection import Address, parse_head
from pi_agent.backoff import parse_retry_after
from pi_agent.clock import Clock
from pi_agent.errors import Unreachable
from pi_agent.exchange import Response

MAX_ANSWER = 1 << 20

Answered = Callable[[Response | Unreachable], None]


class Wire(asyncio.Protocol):
    """Raises nothing: what became of a request is told to whoever sent it, once."""

    def __init__(self, address: Address, clock: Clock, keep: bool) -> None:
        self.address, self._clock, self._keep = address, clock, keep
        self._transport: asyncio.Transport | None = None
        self._answered: Answered | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._message = b""
        self._buffer = bytearray()
        self._needed = -1
        self._used = False
        self._opening: asyncio.Task[None] | None = None

    def send(self, message: bytes, timeout_s: float, answered: Answered) -> None:
        loop = asyncio.get_running_loop()
        self._answered, self._message, self._needed = answered, message, -1
        self._buffer.clear()
        self._timer = loop.call_later(timeout_s, self._fail, "timed out")
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message)
        else:
            self._opening = loop.create_task(self._open(loop))

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._used = False
        try:
            await loop.create_connection(lambda: self, self.address.host, self.address.port)
        except OSError as error:
            self._fail(str(error))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self._answered is None:
            transport.close()  # given up meanwhile
        else:
            self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answered is None:
            self._drop()
            return
        if self._needed < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_ANSWER:
                    self._fail("a head without an end")
                return
            try:
                self._status, self._headers = parse_head(bytes(self._buffer[: end + 4]))
                length = 0 if self._status in (204, 304) else int(self._headers["content-length"])
            except (ValueError, IndexError, KeyError):
                self._fail("an answer that is not HTTP, or without a length")
                return
            self._needed = end + 4 + length
            self._body_at = end + 4
            if length > MAX_ANSWER:
                self._fail("an answer that is too long")
                return
        if len(self._buffer) >= self._needed:
            self._done()

    def _done(self) -> None:
        headers = self._headers
        response = Response(
            self._status,
            headers,
            bytes(self._buffer[self._body_at : self._needed]),
            parse_retry_after(headers.get("retry-after"), self._clock.now()),
        )
        self._buffer.clear()
        self._used = True
        if not self._keep or headers.get("connection", "").lower() == "close":
            self._drop()
        self._tell(response)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answered is None:
            return
        if self._used and self._needed < 0 and not self._buffer:
            # Kept, and closed by the server as we sent: that says nothing of the request. Once more, on a new one.
            loop = asyncio.get_running_loop()
            self._opening = loop.create_task(self._open(loop))
        else:
            self._fail("the connection was cut off")

    def _fail(self, reason: str) -> None:
        self._drop()
        if self._answered is not None:
            self._tell(Unreachable(reason))

    def _tell(self, outcome: Response | Unreachable) -> None:
        answered, self._answered = self._answered, None
        if self._timer is not None:
            self._timer.cancel()
        if answered is not None:
            answered(outcome)

    def give_up(self) -> None:
        """Nobody wants the answer any more, or this end has lost its power."""
        self._answered = None
        if self._timer is not None:
            self._timer.cancel()
        self._drop()

    def _drop(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.close()
