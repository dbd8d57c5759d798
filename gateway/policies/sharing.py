"""A worker's way to tell the other nodes of a write before its client hears of it.

The relay of this node (gateway/control/pinrelay.py) is asked over a Unix-domain socket: one line `number slot …` per
write, one line `number` back when every other node has it, or has stopped trusting its board. That is waited for for
at most `MOST_SECONDS`.

What cannot be told at once is kept, and told together as soon as it can be: the relay is away, or has `MOST_WAITING`
numbers to answer already; what it was asked and has not answered when it goes away is told again to the next one. A
relay that is heard of takes connections, so nobody is kept for long; and one that Redis has not heard of for
`MOST_SECONDS` is missed by all nodes, who trust no board without it, so that nobody has to be told any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from gateway.policies.pins import PinBoard

LEASE_SECONDS = 0.4  # for so long a node trusts its board after a sign of life that came back to it
# A node that Redis has not heard for two leases is missing, and one lease later nobody trusts a board without it.
MOST_SECONDS = 3 * LEASE_SECONDS
AGAIN_SECONDS = 0.1
MOST_WAITING = 10_000  # numbers that the relay has to answer
MOST_SLOTS = 4_000  # in a line; the relay reads lines of 64 KiB

Then = Callable[[], None]


class PinPost(asyncio.Protocol):
    def __init__(self, board: PinBoard, path: Path) -> None:
        self._board = board
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._buffer = b""
        self._last = 0
        self._asked: dict[int, tuple[Sequence[int], Then]] = {}
        # Kept: at most every slot once, and what waits is an exchange that is there anyway.
        self._slots: set[int] = set()
        self._thens: dict[Then, None] = {}
        self._look: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._stay())

    def tell(self, slots: Sequence[int], then: Then) -> bool:
        """True: the client's answer has to wait, and `then` is called once when it need no longer."""
        if self._board.alone():
            return False
        if self._transport is not None and len(self._asked) < MOST_WAITING:
            self._ask(slots, then)
        elif self._transport is not None or self._until_missed() > 0:
            self._keep(slots, then)
        else:
            return False
        return True

    def _ask(self, slots: Sequence[int], then: Then) -> None:
        assert self._transport is not None
        self._last += 1
        self._asked[self._last] = slots, then
        self._loop.call_later(MOST_SECONDS, self._done, self._last)
        self._transport.write(b"%d %b\n" % (self._last, b" ".join(b"%d" % slot for slot in slots)))

    def _done(self, number: int) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None:
            asked[1]()
            if self._slots and self._transport is not None:
                self._tell_kept()

    # kept

    def _keep(self, slots: Iterable[int], then: Then) -> None:
        self._slots.update(slots)
        self._thens[then] = None
        if self._transport is None and self._look is None:
            self._look = self._loop.call_later(max(0.0, self._until_missed()), self._look_again)

    def _tell_kept(self) -> None:
        slots, (self._slots, self._thens), thens = list(self._slots), (set(), {}), self._thens
        parts = [slots[at : at + MOST_SLOTS] for at in range(0, len(slots), MOST_SLOTS)]
        left = len(parts)

        def told() -> None:
            nonlocal left
            left -= 1
            if not left:
                _call(thens)

        for part in parts:
            self._ask(part, partial(told))  # each its own: who waits is known by it

    def _until_missed(self) -> float:
        """Seconds until no other node trusts its board, if Redis does not hear of ours."""
        return self._board.heard() + MOST_SECONDS - self._loop.time()

    def _look_again(self) -> None:
        self._look = None
        if self._transport is not None or not self._slots:
            return
        if (left := self._until_missed()) > 0:  # a new relay is heard of: it will take what we have
            self._look = self._loop.call_later(left, self._look_again)
            return
        thens, self._slots, self._thens = self._thens, set(), {}
        _call(thens)

    # the connection

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
        if self._slots:
            self._tell_kept()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        asked, self._asked = self._asked, {}
        for slots, then in asked.values():
            self._keep(slots, then)
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._done(int(line))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._look is not None:
            self._look.cancel()
        if self._transport is not None:
            self._transport.close()


def _call(thens: Iterable[Then]) -> None:
    for then in thens:
        then()
