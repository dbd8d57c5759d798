"""In the admin process: one stream of the lines of all workers, for one who listens.

A worker that ends while one listens is listened to again as soon as there is a new one. Who reads slowly is waited for
here, then at the workers' sockets, then lines are dropped at the workers: nothing grows. The server does not tell us of
a client that leaves while a piece waits for it, so who takes nothing for long is taken for gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from time import monotonic, time
from typing import Any

import msgspec

from gateway.control import link
from gateway.settings import Settings
from gateway.tail.listeners import LISTENING
from gateway.tail.wanted import Wanted

MOST_TAILS = 8  # at one node
MOST_PIECES = 8  # read of the workers' sockets, and not yet taken by the client
ALIVE_SECONDS = 1.0  # without a line until one says that nothing happens
STUCK_SECONDS = 30.0  # in which the client takes nothing
AGAIN_SECONDS = 0.1  # until a worker that is away is looked for again


class TooManyTails(Exception):
    """The node has as many listeners as it takes."""

    def __init__(self) -> None:
        super().__init__(f"{MOST_TAILS} listen already: end one of them first")


class Tails:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = 0

    def tail(self, wanted: Wanted) -> AsyncGenerator[bytes, None]:
        """Pieces of whole lines: requests as in the access log, and `event`s. Raises, at once: TooManyTails."""
        if self._open >= MOST_TAILS:
            raise TooManyTails
        client = _Client()
        lines = self._tail(wanted, client)
        client.watching = asyncio.create_task(client.watch(lines))
        return lines

    async def _tail(self, wanted: Wanted, client: _Client) -> AsyncGenerator[bytes, None]:
        self._open += 1
        pieces: asyncio.Queue[bytes] = asyncio.Queue(MOST_PIECES)
        message = {"do": "tail", "wanted": msgspec.to_builtins(wanted)}
        workers = range(self._settings.workers)
        following = [asyncio.create_task(self._follow(index, message, pieces)) for index in workers]
        try:
            while True:
                try:
                    async with asyncio.timeout(ALIVE_SECONDS):
                        piece = await pieces.get()
                except TimeoutError:
                    piece = _event("alive")
                client.offered = monotonic()
                yield piece
                client.offered = 0.0
        finally:
            self._open -= 1
            client.over = True
            for task in following:
                task.cancel()

    async def _follow(self, index: int, message: dict[str, Any], pieces: asyncio.Queue[bytes]) -> None:
        lost = False
        while True:
            with contextlib.suppress(link.LinkDown):
                async with contextlib.aclosing(link.follow(self._settings.socket(index), message)) as lines:
                    async for piece in lines:
                        if piece.startswith(LISTENING):
                            lost = False
                            await pieces.put(_event("listening", worker=index))
                            piece = piece.removeprefix(LISTENING)
                        if piece:
                            await pieces.put(piece)
            if not lost:
                lost = True
                await pieces.put(_event("worker away", worker=index))
            await asyncio.sleep(AGAIN_SECONDS)


class _Client:
    """Whether it still takes what it is given."""

    def __init__(self) -> None:
        self.offered = monotonic()  # when a piece began to wait for it; 0: none does
        self.over = False
        self.watching: asyncio.Task[None] | None = None

    async def watch(self, lines: AsyncGenerator[bytes, None]) -> None:
        while not self.over:
            await asyncio.sleep(ALIVE_SECONDS)
            if self.offered and monotonic() - self.offered > STUCK_SECONDS and not self.over:
                await lines.aclose()
                return


def _event(name: str, **more: Any) -> bytes:
    return msgspec.json.encode({"at": round(time(), 3), "event": name, **more}) + b"\n"
