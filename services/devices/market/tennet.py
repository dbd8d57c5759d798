"""TenneT's settlement prices (CSV of publications/v1): quarter-hours by their number in the local day. Pure.

`Isp` counts from local midnight in real time, so a day has 92, 96 or 100 of them, and the clock's times need not be
read. Regulation state 2 settles both directions by prices of their own; a battery is then steered by the shortage price
when it would take, so the higher of both is kept: it never makes a battery take energy that is dear.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

from services.chassis.localtime import day_bounds
from services.devices.market.errors import BadData
from services.devices.market.prices import Price, once

AREA = "NL"
MINUTES = 15
_STEP = timedelta(minutes=MINUTES)
_CENT = Decimal("0.01")
_MOST = Decimal(100_000)
_NEEDED = ("Timeinterval Start Loc", "Isp", "Price Shortage", "Price Surplus")


def parse(body: bytes, area: str = AREA) -> list[Price]:
    """The prices of an answer; a quarter without prices yet is left out. Raises: BadData, with the line."""
    try:
        reader = csv.DictReader(body.decode("utf-8-sig").splitlines(), strict=True)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise BadData(f"not an answer of TenneT's: no column {', '.join(missing)}")
        return once(_prices(reader, area))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"not an answer of TenneT's: {error}") from None


def starts_at(day: date, isp: int) -> datetime:
    """The instant at which quarter-hour number `isp` (from 1) of a local day begins. Raises: BadData."""
    begin, end = day_bounds(day)
    start = begin + (isp - 1) * _STEP
    if isp < 1 or start >= end:
        raise BadData(f"{day} has no quarter-hour {isp}")
    return start


def _prices(reader: csv.DictReader[str], area: str) -> Iterator[Price]:
    for row in reader:
        shortage, surplus = row["Price Shortage"] or "", row["Price Surplus"] or ""
        if not shortage.strip() and not surplus.strip():
            continue
        try:
            day = date.fromisoformat(row["Timeinterval Start Loc"][:10])
            start = starts_at(day, int(row["Isp"]))
            price = max(Decimal(text) for text in (shortage, surplus) if text.strip())
        except (TypeError, ValueError, ArithmeticError) as error:
            raise BadData(f"line {reader.line_num}: {error}") from None
        if not price.is_finite() or abs(price) >= _MOST:
            raise BadData(f"line {reader.line_num}: {price} is no price")
        yield Price(area, start, MINUTES, price.quantize(_CENT), "provisional", "tennet")
