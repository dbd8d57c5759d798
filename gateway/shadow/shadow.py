"""Sampled copies of reads go to the other side, and the two answers are compared.

The client's request knows nothing of it: its response is already on the way when a copy is made; copies have their own
connections; at most RUNNING are under way and WAITING wait, the rest is dropped and counted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from gateway.http1.pool import Pool
from gateway.meter import Meter
from gateway.shadow.compare import Difference, compare
from gateway.shadow.fetch import MOST_BODY, FetchFailed, fetch

RUNNING = 8
WAITING = 64
SAMPLES = 50
TIMEOUT = 5.0
BLIND_SECONDS = 0.3  # how long the other side gets to catch up when the watermark is not known
PATIENCE = 5.0  # seconds to wait for the watermark; with a sync that lags more nothing can be said of the answers
ROUNDS = 3  # a resource that changes all the time is given up after so many, as unsettled


@dataclass(frozen=True, slots=True)
class Copy:
    """What was asked and answered. `head` asks for the same again."""

    domain: str
    operation: str
    path: str
    head: bytes
    primary: str  # upstream
    other: str
    side: str  # of the primary
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Mismatch:
    at: float
    domain: str
    operation: str
    path: str
    pointer: str
    legacy: str
    service: str


class Share(Protocol):
    """Percent of the reads of a domain that are compared."""

    def __call__(self, domain: str) -> float: ...


class Shadow:
    def __init__(
        self,
        pools: Callable[[], Mapping[str, Pool]],
        meter: Meter,
        share: Share,
        watermarks: Callable[[], Mapping[str, float]],
    ) -> None:
        self._pools = pools  # its own, not the clients'
        self._meter = meter
        self._share = share
        self._watermarks = watermarks  # stream → wall-clock seconds up to which the other side has everything
        self._waiting: deque[Copy] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self.samples: deque[Mismatch] = deque(maxlen=SAMPLES)
        self.figures: dict[tuple[str, str], list[int]] = {}  # (domain, operation) → [compared, mismatched]

    def wants(self, domain: str) -> bool:
        return len(self._waiting) < WAITING and random.random() * 100 < self._share(domain)  # noqa: S311

    def offer(self, copy: Copy) -> None:
        if len(copy.body) > MOST_BODY or len(self._waiting) >= WAITING:
            self._meter.count(copy.domain, "shadow_dropped")
            return
        self._waiting.append(copy)
        if len(self._running) < RUNNING:
            task = asyncio.get_running_loop().create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self) -> None:
        while self._waiting:
            copy = self._waiting.popleft()
            try:
                await self._compare(copy)
            except (FetchFailed, TimeoutError, KeyError):  # KeyError: the table has changed and the upstream is gone
                self._meter.count(copy.domain, "shadow_dropped")

    async def _compare(self, copy: Copy) -> None:
        head = copy.head[:-2] + b"Banyan-Shadow: 1\r\n\r\n"
        first = compare((copy.status, copy.body), await self._ask(copy.other, head))
        if first is None:
            self._count(copy, None)
            return
        settled, difference = await self._settle(copy, head)
        if settled:
            self._count(copy, difference)
        else:
            self._meter.count(copy.domain, "shadow_unsettled")

    async def _settle(self, copy: Copy, head: bytes) -> tuple[bool, Difference | None]:
        """Was it only lag? A difference counts when the primary stood still while the other side caught up with it.

        1. ask the primary at time t; 2. wait until each side has everything of the other up to t: in a canary it is the
        primary that may be behind; 3. ask the other side; 4. ask the primary again. Equal in 3: it was lag. Unequal in
        3 and the same in 1 and 4: a mismatch. Otherwise somebody wrote, or something arrived, in between: once more.
        """
        for _ in range(ROUNDS):
            asked = time.time()
            before = await self._ask(copy.primary, head)
            if not await self._caught_up(copy.domain, asked):
                return False, None
            difference = compare(before, await self._ask(copy.other, head))
            if difference is None:
                return True, None
            if compare(before, await self._ask(copy.primary, head)) is None:
                return True, difference
        return False, None

    async def _caught_up(self, domain: str, moment: float) -> bool:
        """Whether all that was written before `moment` is on both sides now. Guessed where no watermark is known."""
        streams = (f"{domain}.forward", f"{domain}.reverse")
        deadline = time.monotonic() + PATIENCE
        while known := [at for stream in streams if (at := self._watermarks().get(stream)) is not None]:
            if min(known) > moment:
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        await asyncio.sleep(BLIND_SECONDS)
        return True

    async def _ask(self, upstream: str, head: bytes) -> tuple[int, bytes]:
        return await fetch(self._pools()[upstream], head, TIMEOUT)

    def _count(self, copy: Copy, difference: Difference | None) -> None:
        figures = self.figures.setdefault((copy.domain, copy.operation), [0, 0])
        figures[0] += 1
        self._meter.count(copy.domain, "shadow_compared")
        if difference is None:
            return
        figures[1] += 1
        self._meter.count(copy.domain, "shadow_mismatched")
        legacy, service = difference.one, difference.other
        if copy.side == "service":
            legacy, service = service, legacy
        self.samples.append(
            Mismatch(time.time(), copy.domain, copy.operation, copy.path, difference.pointer, legacy, service)
        )

    def snapshot(self) -> dict[str, Any]:
        return {
            "operations": [
                {"domain": d, "operation": o, "compared": n, "mismatched": m} for (d, o), (n, m) in self.figures.items()
            ],
            "samples": [asdict(sample) for sample in self.samples],
        }

    async def stop(self) -> None:
        self._waiting.clear()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
