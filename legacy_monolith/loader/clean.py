"""Cleans the published day-ahead prices: pure, line by line, nothing guessed.

The file has two date formats (`YYYY-MM-DD hh:mm:ss`, later `DD/MM/YYYY hh:mm`), thousands of repeated rows, a row
without a time, and hours that are missing. Times are UTC.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from legacy_monolith.errors import CommandError

HEADER = ["Country", "Datetime (UTC)", "Datetime (Local)", "Price (EUR/MWhe)"]
FORMATS = ("%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M")
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """EUR/MWh by UTC hour, in order, and what had to be cleaned away."""

    prices: dict[datetime, Decimal]
    rows: int
    duplicates: int
    conflicts: int
    blank: int
    missing: tuple[datetime, ...]

    def summary(self) -> str:
        gone = ", ".join(f"{hour:%Y-%m-%d %H:%M}" for hour in self.missing[:4])
        more = f" and {len(self.missing) - 4} more" if len(self.missing) > 4 else ""
        return (
            f"{self.rows:,} rows: {len(self.prices):,} distinct hours, {self.duplicates:,} duplicate rows"
            f" ({self.conflicts:,} of another price), {self.blank:,} blank,"
            f" {len(self.missing):,} hours missing" + (f" (UTC: {gone}{more})" if self.missing else "")
        )


def clean(lines: Iterable[str]) -> Cleaned:
    """Of two prices the later row counts. Raises: CommandError with the line's number when a row cannot be read."""
    reader = csv.reader(lines)
    if next(reader, None) != HEADER:
        raise CommandError(f"not a day-ahead price file: its first line must be {','.join(HEADER)}")
    prices: dict[datetime, Decimal] = {}
    rows = duplicates = conflicts = blank = 0
    for number, row in enumerate(reader, start=2):
        rows += 1
        if len(row) < 4 or not row[1].strip():
            blank += 1
            continue
        hour, price = _hour(row[1], number), _price(row[3], number)
        if (known := prices.get(hour)) is not None:
            duplicates += 1
            conflicts += known != price
        prices[hour] = price
    ordered = dict(sorted(prices.items()))
    return Cleaned(ordered, rows, duplicates, conflicts, blank, missing(ordered))


def since(cleaned: Cleaned, first: datetime) -> Cleaned:
    """Only what starts at `first` (UTC) or later."""
    prices = {hour: price for hour, price in cleaned.prices.items() if hour >= first}
    left = tuple(hour for hour in cleaned.missing if hour >= first)
    return Cleaned(prices, cleaned.rows, cleaned.duplicates, cleaned.conflicts, cleaned.blank, left)


def missing(prices: dict[datetime, Decimal]) -> tuple[datetime, ...]:
    """The hours between the first and the last one that are not there."""
    if not prices:
        return ()
    hour, last = min(prices), max(prices)
    gone = []
    while hour < last:
        if hour not in prices:
            gone.append(hour)
        hour += HOUR
    return tuple(gone)


def _hour(text: str, number: int) -> datetime:
    for known in FORMATS:
        try:
            hour = datetime.strptime(text.strip(), known).replace(tzinfo=UTC)
        except ValueError:
            continue
        if hour.minute or hour.second:
            break
        return hour
    raise CommandError(f"line {number}: {text!r} is no hour that this loader knows; correct the line or remove it")


def _price(text: str, number: int) -> Decimal:
    try:
        return Decimal(text.strip()).quantize(Decimal("0.01"))
    except InvalidOperation:
        raise CommandError(f"line {number}: {text!r} is no price; correct the line or remove it") from None
