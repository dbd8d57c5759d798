"""A tariff and its rates: a price for each hour of the day, without gap or overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

HOURS = 24


@dataclass(frozen=True, slots=True)
class Rate:
    """`price_per_kwh` EUR, without VAT, from `starts_hour` until before `ends_hour` of the local day."""

    starts_hour: int
    ends_hour: int
    price_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Tariff:
    """`standing_charge` EUR a day; `vat_rate` a fraction; `kind` fixed or dynamic; `state` active or inactive."""

    code: str
    name: str
    state: str
    kind: str
    standing_charge: Decimal
    vat_rate: Decimal
    valid_from: datetime
    rates: tuple[Rate, ...] = ()


def covers_the_day(rates: Sequence[Rate]) -> bool:
    """True when the rates price every hour exactly once."""
    hour = 0
    for rate in sorted(rates, key=lambda rate: rate.starts_hour):
        if rate.starts_hour != hour or rate.ends_hour <= hour:
            return False
        hour = rate.ends_hour
    return hour == HOURS
