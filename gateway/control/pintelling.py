"""The writes of this node on their way to the boards of the others, and when their clients may hear of them.

Part of the proof in `pinrelay`:

2. A writer's node publishes the pin, and waits for an acknowledgement of each node that it knows, or for one lease: by
   then a node that has not got the pin has not got a later sign of its own either, so its lease is over. A writer's
   node that has not heard of Redis for a lease does not know whom to wait for, and waits the lease out.
4. (of a node that is cut off) It lets its writes wait until three leases after its last sign, when the others have
   missed it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis

from gateway.control.pinlease import Lease
from gateway.policies.pins import PinBoard
from gateway.policies.sharing import LEASE_SECONDS, MOST_SECONDS

MOST_NODES = 100  # remembered, of those that are not there any more
Answer = Callable[[], None]  # to the worker that told of the write


@dataclass(slots=True)
class _Told:
    """Writes that were published together. `wanted` None: it is not known who has to have them."""

    answers: list[Answer]
    wanted: frozenset[str] | None
    deadline: float


class Telling:
    def __init__(self, board: PinBoard, redis: Redis, lease: Lease, channel: str, sender: str) -> None:
        """`sender`: `node relay`, as it stands before the number in a message."""
        self._board = board
        self._redis = redis
        self._lease = lease
        self._channel = channel
        self._sender = sender
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[list[int], Answer]] = []
        self._woken = asyncio.Event()
        self._told: dict[int, _Told] = {}
        self._number = 0
        self._had: dict[str, int] = {}  # node → the last number that it has acknowledged

    def take(self, slots: list[int], answer: Answer) -> None:
        """A write of this node."""
        if self._lease.connected:
            self._waiting.append((slots, answer))
            self._woken.set()
        else:
            self._answer_cut_off(answer)

    def lose(self) -> None:
        """Redis is away."""
        taken, self._waiting = self._waiting, []
        for _, answer in taken:
            self._answer_cut_off(answer)

    def _answer_cut_off(self, answer: Answer) -> None:
        left = self._board.heard() + MOST_SECONDS - time.monotonic()
        self._loop.call_later(max(0.0, left), answer)

    async def publish(self) -> None:
        """For ever. What came in while one message was on its way goes out together with the next.

        Raises what Redis raises.
        """
        while True:
            await self._woken.wait()
            self._woken.clear()
            taken, self._waiting = self._waiting, []
            if not taken:
                continue
            try:
                self._number += 1
                text = ",".join(map(str, {slot for slots, _ in taken for slot in slots}))
                await self._redis.publish(self._channel, f"pins {self._sender} {self._number} {text}")
            except BaseException:
                for _, answer in taken:
                    self._answer_cut_off(answer)
                raise
            now = time.monotonic()
            answers = [answer for _, answer in taken]
            self._told[self._number] = _Told(answers, self._lease.others(now), now + LEASE_SECONDS)
            self._loop.call_later(LEASE_SECONDS, self._progress)
            self._progress()

    def had(self, node: str, number: int) -> None:
        """That node has all writes up to this number."""
        if len(self._had) > MOST_NODES:  # nodes that come and go have a new name each time
            self._had = {known: at for known, at in self._had.items() if self._lease.knows(known)}
        self._had[node] = number
        self._progress()

    def _progress(self) -> None:
        now = time.monotonic()
        for number, told in list(self._told.items()):
            everywhere = told.wanted is not None and all(self._had.get(n, 0) >= number for n in told.wanted)
            if everywhere or now >= told.deadline:
                del self._told[number]
                for answer in told.answers:
                    answer()
