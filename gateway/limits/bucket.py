"""A token bucket, as one worker sees it. Pure; the clock is passed in.

What makes several workers right together: a worker takes tokens from its own view of the shared bucket and keeps count
of them in `spent`. A sync tells Redis what was spent and brings back what all have left. Between two syncs workers may
spend the same token twice; the shared bucket then goes below zero, and nobody is let in until time has paid it back.
"""

from __future__ import annotations

from math import ceil


class Bucket:
    """`tokens` as of `at` (seconds). `alone`: what we spent since Redis was lost is known to nobody else."""

    __slots__ = ("alone", "at", "burst", "rate", "spent", "tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = float(burst)
        self.at = now
        self.spent = 0
        self.alone = False

    def level(self, now: float) -> float:
        """Tokens there are now."""
        if now > self.at:
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
            self.at = now
        return self.tokens

    def take(self) -> None:
        """One token; the caller has looked at the level."""
        self.tokens -= 1
        self.spent += 1

    def wait(self) -> int:
        """Whole seconds, at least one, until a token is there; as of the last look."""
        return max(1, ceil((1 - self.tokens) / self.rate))

    def full_in(self) -> int:
        """Whole seconds until the bucket is full; as of the last look."""
        return max(0, ceil((self.burst - self.tokens) / self.rate))

    def report(self, now: float) -> tuple[int, float]:
        """(spent since the last report, the most that there can be): what Redis is told."""
        told = (0, self.level(now)) if self.alone else (self.spent, float(self.burst))
        self.spent = 0
        return told

    def agree(self, tokens: float, now: float) -> None:
        """What all have left, by Redis; what was spent while it was asked is ours."""
        self.tokens = min(self.burst, tokens) - self.spent
        self.at = now
        self.alone = False

    def lose(self) -> None:
        """Redis did not answer the last report."""
        self.alone = True
