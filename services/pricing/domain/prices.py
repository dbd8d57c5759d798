"""Market prices: what a megawatt-hour costs from an instant on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class MarketPrice:
    """EUR/MWh for the hour that begins at `starts_at`; negative is legal."""

    starts_at: datetime
    price: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class PriceDay:
    """The extremes of a local day, which has 23, 24 or 25 hours."""

    day: date
    lowest: Decimal
    highest: Decimal
    hours: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What a batch did."""

    inserted: int
    updated: int
    unchanged: int
