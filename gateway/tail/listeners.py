"""In a worker: makes lines of the requests that somebody listens for, and of no others.

Nobody who listens can hold a worker up: a listener has a number of lines in each tick and a number of lines that wait
for it; what is beyond either is not even made, but counted, and the count is a line too (`event`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.accesslog import AccessLog
from gateway.tail.wanted import Match, Wanted

if TYPE_CHECKING:
    from gateway.core import Gateway
    from gateway.http1.exchange import Exchange

MOST_LISTENERS = 16
MOST_WAITING = 1_000  # lines for one listener
MOST_IN_A_TICK = 50  # lines for one listener in each 0.1 s: the first ones of each, not of a whole second
PAUSE_SECONDS = 0.05  # between two writes to one listener, so that a crowd of lines goes out in few of them
LISTENING = b'{"event":"listening"}\n'


class Listener:
    def __init__(self, wanted: Wanted) -> None:
        self._match = Match(wanted)
        self._sample = wanted.sample
        self._lines: list[bytes] = []
        self._dropped = 0
        self._tick = 0.0
        self._left = MOST_IN_A_TICK
        self._some = asyncio.Event()

    def takes(self, exchange: Exchange, now: float) -> bool:
        """Whether a line of it is to be made. `now` goes on from tick to tick."""
        if not self._match.fits(exchange):
            return False
        if self._sample < 1 and random.random() >= self._sample:  # noqa: S311
            return False
        if now != self._tick:
            self._tick = now
            self._left = MOST_IN_A_TICK
        if not self._left or len(self._lines) >= MOST_WAITING:
            self._dropped += 1
            self._some.set()
            return False
        self._left -= 1
        return True

    def add(self, line: bytes) -> None:
        self._lines.append(line)
        self._some.set()

    def taken(self) -> bytes:
        """What has come, and how much has been dropped."""
        if self._dropped:
            self._lines.append(b'{"at":%.3f,"event":"dropped","count":%d}\n' % (time(), self._dropped))
        lines, self._lines, self._dropped = self._lines, [], 0
        return b"".join(lines)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        while True:
            await self._some.wait()
            self._some.clear()
            yield self.taken()
            await asyncio.sleep(PAUSE_SECONDS)


class Tail:
    """All who listen at one worker. Among the gateway's observers only while there is one."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listeners: list[Listener] = []
        self._log = AccessLog(0.0, len)  # makes lines, keeps none

    def __len__(self) -> int:
        return len(self._listeners)

    def finished(self, exchange: Exchange, seconds: float) -> None:
        """Of an exchange that is over."""
        line = b""
        for listener in self._listeners:
            if listener.takes(exchange, self._gateway.now):
                line = line or self._log.line(exchange, seconds)
                listener.add(line)

    async def subscribe(self, message: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Pieces of whole lines, until the subscriber leaves."""
        if len(self._listeners) >= MOST_LISTENERS:
            yield b'{"error":"too many listen to this worker"}\n'
            return
        listener = Listener(msgspec.convert(message["wanted"], Wanted))
        self._listeners.append(listener)
        self._gateway.observe(self)
        try:
            yield LISTENING
            async for piece in listener.lines():
                yield piece
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                self._gateway.unobserve(self)
