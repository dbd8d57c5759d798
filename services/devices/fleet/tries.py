"""How often an address may try a claim code: a token bucket each, in this process, for a bounded number of them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

PER_MINUTE = 10
MOST_ADDRESSES = 10_000


class Tries:
    def __init__(self, now: Callable[[], float] = monotonic, per_minute: int = PER_MINUTE) -> None:
        self._now, self._most = now, per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> int:
        """0: go on. Else the seconds after which to try again."""
        now = self._now()
        left, at = self._buckets.pop(address, (float(self._most), now))
        left = min(self._most, left + (now - at) * self._most / 60)
        wait = 0 if left >= 1 else math.ceil((1 - left) * 60 / self._most)
        self._buckets[address] = (left - 1 if not wait else left, now)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return wait
