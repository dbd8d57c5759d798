"""A retry budget: retries are a share of the traffic, so that they cannot turn a slow side into a dead one."""

from __future__ import annotations

import time
from collections.abc import Callable


class RetryBudget:
    """Each request deposits `ratio`, each retry takes 1; `floor` retries per second are always there."""

    __slots__ = ("_clock", "_floor", "_ratio", "_refilled", "_tokens")

    def __init__(self, ratio: float = 0.2, floor: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._ratio = ratio
        self._floor = floor
        self._clock = clock
        self._tokens = floor
        self._refilled = clock()

    def deposit(self) -> None:
        if self._tokens < 100:
            self._tokens += self._ratio

    def take(self) -> bool:
        now = self._clock()
        self._tokens = min(100.0 + self._floor, self._tokens + (now - self._refilled) * self._floor)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
