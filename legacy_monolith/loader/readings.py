"""`load-readings`: household loads into `reading`, hour by hour of one local year.

The file has a column a house and a line a quarter of an hour, in kW and without times: line 0 is the year's first
quarter. A leap year's last day is the file's first one again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from legacy_monolith import localtime
from legacy_monolith.errors import CommandError
from legacy_monolith.loader import synthetic, wheel
from legacy_monolith.loader.clean import HOUR
from legacy_monolith.loader.upsert import Counts, Target, upsert

TARGET = Target("reading", keys=("meter_id", "ts", "hour_flag"), values=("kwh",))
MADE_UP = "no data file and no network: loading made-up household loads of the same shape (seed 1)"

#: Meters written in one transaction, so that a long load shows progress.
_BATCH = 10


def hourly_kwh(lines: Sequence[str]) -> list[list[Decimal]]:
    """kWh by house and hour: the mean of the hour's four quarters in kW. Raises: CommandError."""
    if not lines or len(lines) % 4:
        raise CommandError(f"household loads come in quarters of an hour, but there are {len(lines)} lines")
    try:
        quarters = [[float(value) for value in line.split(",")] for line in lines]
    except ValueError as error:
        raise CommandError(f"household loads must be numbers: {error}") from None
    houses = len(quarters[0])
    if any(len(quarter) != houses for quarter in quarters):
        raise CommandError("household loads must have the same number of houses on every line")
    return [
        [_mean(quarters[q][house] for q in range(start, start + 4)) for start in range(0, len(quarters), 4)]
        for house in range(houses)
    ]


def _mean(kilowatts: Iterator[float]) -> Decimal:
    return Decimal(f"{sum(kilowatts) / 4:.3f}")


def hours(year: int, first_month: int = 1, last_month: int = 12) -> Iterator[tuple[int, datetime, str]]:
    """(index in the year, local time, flag) of every hour of the months."""
    begin, end = localtime.to_utc(datetime(year, 1, 1)), localtime.to_utc(datetime(year + 1, 1, 1))
    for index in range(int((end - begin) / HOUR)):
        ts, flag = localtime.to_local(begin + index * HOUR)
        if first_month <= ts.month <= last_month:
            yield index, ts, flag


def load(url: str, meters: int, year: int, months: tuple[int, int], path: Path | None = None) -> Iterator[str]:
    """Loads, and tells by line what it does; the last line is the result."""
    found = path or wheel.cached()
    if found is None:
        yield MADE_UP
    houses = hourly_kwh(list(synthetic.load_lines()) if found is None else wheel.lines(found, wheel.LOADS))
    wanted = list(hours(year, *months))
    done = Counts(0, 0, 0)
    with psycopg.connect(url, application_name="legacy-loader", autocommit=True) as connection:
        ids = _meters(connection, meters, date(year, months[0], 1))
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            counts = upsert(connection, TARGET, _rows(some, start, houses, wanted))
            done = Counts(
                done.inserted + counts.inserted, done.updated + counts.updated, done.unchanged + counts.unchanged
            )
            yield f"readings: {start + len(some)} of {len(ids)} meters"
    yield f"readings of {len(ids)} meters, {year}: {done}"


def _meters(connection: psycopg.Connection[Any], count: int, first: date) -> list[int]:
    rows = connection.execute(
        "SELECT m.id FROM meter m JOIN contract c ON c.id = m.contract_id"
        " WHERE c.start_day <= %s ORDER BY m.id LIMIT %s",
        (first, count),
    ).fetchall()
    if not rows:
        raise CommandError(
            "there are no meters with a contract in that time: run `python -m legacy_monolith seed` first"
        )
    return [row[0] for row in rows]


def _rows(
    ids: Sequence[int], offset: int, houses: list[list[Decimal]], wanted: Sequence[tuple[int, datetime, str]]
) -> Iterator[tuple[Any, ...]]:
    for number, meter in enumerate(ids, start=offset):
        house = houses[number % len(houses)]
        for index, ts, flag in wanted:
            yield meter, ts, flag, house[index % len(house)]
