"""A limit of requests in flight that finds itself: the gradient of latency, per upstream. Pure.

After Netflix' concurrency-limits and Envoy's adaptive concurrency, with two changes:

1. Latency is measured against the same operation's own idle latency, so that more of the slow operations in the mix do
   not look like overload.
2. The idle latency is learned from requests that never shared the server with more than `least` (writes: 1.25 ×
   `least`) others while they lasted, so nothing is ever held back to measure.
   A server that has become slower for good drives the limit down to `least`, is measured anew there, and gets it back.

Each window (20 answers, at least 0.1 s) the mean r of latency / idle latency gives
`limit := 0.8 limit + 0.2 (limit × clamp(tolerance / r, 0.5, 1) + √limit)`, within `least` and `most`; it grows only
when at least half of it was used. A time-out counts as an answer ten times too late.

Reads are refused at the limit, writes at 1.25 × the limit. Never refused here: what has waited in a hold (it was
promised an answer). Health checks and the admin API do not come this way.

Who was let into a queue and finds the limit reached when its turn comes keeps its turn: its door is told when somebody
leaves, one door after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from gateway.control.resilience import Shedding

ENOUGH = 20  # answers
LEAST_WINDOW = 0.1  # seconds
LEARNING = 0.1  # weight of one idle answer
WORST = 10.0  # times the idle latency; what is slower says no more
GRAIN = 0.001  # seconds; below it a difference of latency is noise
FOR_WRITES = 1.25


class Limiter:
    def __init__(self, rule: Shedding, clock: Callable[[], float]) -> None:
        self.rule = rule
        self.limit = float(min(rule.most, max(rule.least, 32)))
        self.in_flight = 0
        self._clock = clock
        self._crowds = 0  # admissions that found, or made, a crowd
        self._idle: dict[str, float] = {}  # operation → seconds
        self._began = clock()
        self._answers = 0
        self._sum = 0.0
        self._most_used = 0
        self._kept_back: dict[Callable[[], None], None] = {}  # doors, the one that has waited longest first

    def has_room(self, *, read: bool, promised: bool = False) -> bool:
        return promised or self.in_flight < (self.limit if read else self.limit * FOR_WRITES)

    def admit(self, *, read: bool, promised: bool = False) -> bool:
        if not self.has_room(read=read, promised=promised):
            return False
        self.in_flight += 1
        if self.in_flight > self._few:
            self._crowds += 1
        self._most_used = max(self._most_used, self.in_flight)
        return True

    @property
    def _few(self) -> float:
        return self.rule.least * FOR_WRITES

    def ticket(self) -> int:
        """For `answered`, taken when the request is let in: tells then whether there was a crowd meanwhile."""
        return self._crowds if self.in_flight <= self._few else -1

    def leave(self) -> None:
        self.in_flight -= 1
        if self._kept_back:
            self._call_doors()

    def call_back(self, door: Callable[[], None]) -> None:
        """Somebody waits at this door for the limit: call it when somebody leaves."""
        self._kept_back.setdefault(door)

    def _call_doors(self) -> None:
        """While there is room. Who is still kept back asks to be called again, and is then the last."""
        for door in list(self._kept_back):
            if not self.has_room(read=False):
                return
            if door in self._kept_back:  # not called meanwhile by somebody who left at once
                del self._kept_back[door]
                door()

    def answered(self, operation: str, seconds: float, ticket: int) -> None:
        seconds = max(seconds, GRAIN)
        idle = self._idle.get(operation)
        if idle is None:
            idle = self._idle[operation] = seconds
        elif ticket == self._crowds:
            idle = self._idle[operation] = idle + LEARNING * (seconds - idle)
        self._observe(min(WORST, seconds / idle))

    def timed_out(self) -> None:
        self._observe(WORST)

    def _observe(self, ratio: float) -> None:
        self._answers += 1
        self._sum += ratio
        now = self._clock()
        if self._answers < ENOUGH or now - self._began < LEAST_WINDOW:
            return
        self._adjust(self._sum / self._answers)
        self._began, self._answers, self._sum, self._most_used = now, 0, 0.0, self.in_flight

    def _adjust(self, ratio: float) -> None:
        gradient = min(1.0, max(0.5, self.rule.tolerance / ratio))
        aim = self.limit * gradient
        if self._most_used * 2 >= self.limit:
            aim += sqrt(self.limit)
        self.limit = min(float(self.rule.most), max(float(self.rule.least), 0.8 * self.limit + 0.2 * aim))
