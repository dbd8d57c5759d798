"""An imbalance price: what a MWh too much or too little costs in a stretch of time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

Quality = Literal["provisional", "validated"]

#: A price older than this says nothing about now (the monolith's rule too).
FRESH = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Price:
    """EUR/MWh from `starts_at` for `minutes`; negative is legal, and common."""

    area: str
    starts_at: datetime
    minutes: int
    price: Decimal
    quality: Quality
    source: str

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + timedelta(minutes=self.minutes)

    def is_fresh(self, now: datetime) -> bool:
        """It has begun, and at most a quarter of an hour ago."""
        return timedelta(0) <= now - self.starts_at <= FRESH


def once(prices: Iterable[Price]) -> list[Price]:
    """One price for each stretch, in order of time; the last that is told of a stretch counts."""
    found = {(price.area, price.starts_at, price.minutes): price for price in prices}
    return [found[key] for key in sorted(found)]


def gaps(starts: Sequence[datetime], minutes: int, since: datetime, until: datetime) -> list[datetime]:
    """The stretches that begin in [since, until) and have no price."""
    known = set(starts)
    step = timedelta(minutes=minutes)
    return [
        at for n in range(max(0, -((since - until) // step))) if (at := since + n * step) < until and at not in known
    ]
