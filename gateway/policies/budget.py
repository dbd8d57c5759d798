"""A retry budget: retries are a share of the traffic, so that they cannot turn a slow side into a dead one."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST = 100.0  # retries saved up, above the floor


class RetryBudget:
    """Each request deposits `ratio`, each retry takes 1; `floor` are there each second (ratio 0: none)."""

    __slots__ = ("_clock", "_floor", "_refilled", "_tokens", "ratio")

    def __init__(self, ratio: float = 0.2, floor: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.ratio = ratio
        self._floor = floor
        self._clock = clock
        self._tokens = floor
        self._refilled = clock()

    def deposit(self, requests: int = 1) -> None:
        if self._tokens < MOST:
            self._tokens = min(MOST, self._tokens + requests * self.ratio)

    def take(self) -> bool:
        now = self._clock()
        self._tokens = min(MOST + self._floor, self._tokens + (now - self._refilled) * self._floor)
        self._refilled = now
        if self._tokens < 1 or not self.ratio:
            return False
        self._tokens -= 1
        return True
