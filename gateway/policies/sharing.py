"""A worker's way to tell the other nodes of a write before its client hears of it.

The relay of this node (gateway/control/pinrelay.py) is asked over a Unix-domain socket: one line `number slot …` per
write, one line `number` back when every other node has it, or has stopped trusting its board. However it goes, the
answer is kept back for at most `MOST_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from gateway.policies.pins import PinBoard

LEASE_SECONDS = 0.4  # for so long a node trusts its board after a sign of life that came back to it
# A node that Redis has not heard for two leases is missing, and one lease later nobody trusts a board without it.
MOST_SECONDS = 3 * LEASE_SECONDS
AGAIN_SECONDS = 0.1
MOST_WAITING = 10_000


class PinPost(asyncio.Protocol):
    def __init__(self, board: PinBoard, path: Path) -> None:
        self._board = board
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._buffer = b""
        self._last = 0
        self._waiting: dict[int, Callable[[], None]] = {}
        self._task = self._loop.create_task(self._stay())

    def tell(self, slots: Sequence[int], then: Callable[[], None]) -> bool:
        """True: the client's answer has to wait, and `then` is called once when it need no longer."""
        if self._board.alone():
            return False
        wait = MOST_SECONDS
        if self._transport is None:
            # Nobody can be told. The others stop trusting their boards once they have missed us for long enough.
            wait = self._board.heard() + MOST_SECONDS - self._loop.time()
        if wait <= 0 or len(self._waiting) >= MOST_WAITING:
            return False
        self._last += 1
        self._waiting[self._last] = then
        self._loop.call_later(wait, self._done, self._last)
        if self._transport is not None:
            self._transport.write(b"%d %b\n" % (self._last, b" ".join(b"%d" % slot for slot in slots)))
        return True

    def _done(self, number: int) -> None:
        then = self._waiting.pop(number, None)
        if then is not None:
            then()

    async def _stay(self) -> None:
        while True:
            self._lost.clear()
            with contextlib.suppress(OSError):
                await self._loop.create_unix_connection(lambda: self, str(self._path))
                await self._lost.wait()
            await asyncio.sleep(AGAIN_SECONDS)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._done(int(line))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
