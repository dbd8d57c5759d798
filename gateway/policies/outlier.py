"""Which of several equal servers may get requests: those that keep failing are out for a while. Pure.

Ejection times double while a server keeps coming back bad, and are forgotten after it was good for ten times as long.
Who comes back starts slowly: with a tenth of its share, growing to all of it.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.control.resilience import Outliers

LEAST_WEIGHT = 0.1
FORGIVEN_AFTER = 10  # times the last ejection


class _Standing:
    __slots__ = ("back_at", "failures", "lasted", "times", "up")

    def __init__(self) -> None:
        self.up = True  # by the health check
        self.failures = 0  # in a row
        self.times = 0  # ejected without having been good for long in between
        self.lasted = 0.0  # seconds of the newest ejection
        self.back_at: float | None = None  # when it is, or was, let in again; None: has never been away


class Replicas:
    """`up` is what the health check says. Index: the server's place in the upstream's urls."""

    def __init__(self, size: int, rule: Outliers, clock: Callable[[], float]) -> None:
        self._rule = rule
        self._clock = clock
        self._all = [_Standing() for _ in range(size)]
        self.ejections = 0  # so far

    def failed(self, index: int) -> bool:
        """A gateway failure of this server; whether it is out now. The last one that is in stays in."""
        one = self._all[index]
        one.failures += 1
        now = self._clock()
        if one.failures < self._rule.failures or self._is_out(one, now) or not self._others_in(one, now):
            return False
        if one.back_at is not None and now - one.back_at > one.lasted * FORGIVEN_AFTER:
            one.times = 0
        one.lasted = min(self._rule.longest, self._rule.seconds * 2.0 ** min(one.times, 30))
        one.back_at = now + one.lasted
        one.times += 1
        one.failures = 0
        self.ejections += 1
        return True

    def succeeded(self, index: int) -> None:
        self._all[index].failures = 0

    def went_down(self, index: int) -> None:
        self._all[index].up = False

    def came_up(self, index: int) -> None:
        """The health check answers again; an ejection for failed requests goes on."""
        one = self._all[index]
        one.up = True
        one.failures = 0
        one.back_at = max(one.back_at or 0.0, self._clock())

    def usable(self) -> list[int]:
        """Never empty: when none is in, all are tried that answer their health check, and when none does, all."""
        now = self._clock()
        up = [index for index, one in enumerate(self._all) if one.up]
        return [index for index in up if not self._is_out(self._all[index], now)] or up or list(range(len(self._all)))

    def is_out(self, index: int) -> bool:
        return self._is_out(self._all[index], self._clock())

    def next_return(self) -> float:
        """When `usable` changes by itself; infinity: not."""
        now = self._clock()
        return min((o.back_at for o in self._all if o.back_at is not None and o.back_at > now), default=float("inf"))

    def weight(self, index: int) -> float:
        """Its share of requests against the others': below 1 while it starts slowly."""
        one, span = self._all[index], self._rule.slow_start
        if one.back_at is None or not span:
            return 1.0
        return min(1.0, max(LEAST_WEIGHT, (self._clock() - one.back_at) / span))

    def _others_in(self, me: _Standing, now: float) -> bool:
        return any(one is not me and one.up and not self._is_out(one, now) for one in self._all)

    @staticmethod
    def _is_out(one: _Standing, now: float) -> bool:
        return one.back_at is not None and now < one.back_at
