"""`load-prices`: the Dutch day-ahead prices into `price`, in local time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from legacy_monolith import localtime
from legacy_monolith.errors import CommandError
from legacy_monolith.loader import clean, synthetic, wheel
from legacy_monolith.loader.upsert import Counts, Target, upsert

AREA = "NL"
TARGET = Target("price", keys=("area", "ts", "hour_flag"), values=("eur_mwh", "source"))
MADE_UP = "no data file and no network: loading made-up prices of the same shape (seed 1); existing hours stay"


def lines(file: Path | None, path: Path | None) -> tuple[list[str], str]:
    """The lines to load and what to call their source."""
    if file is not None:
        try:
            return file.read_text("utf-8-sig").splitlines(), "file"
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"cannot read {file}: {error}") from None
    found = path or wheel.cached()
    if found is None:
        return list(synthetic.price_lines()), "synthetic"
    return wheel.lines(found, wheel.PRICES), "ev2gym"


def load(url: str, file: Path | None = None, path: Path | None = None, since: int | None = None) -> Iterator[str]:
    """Loads, and tells by line what it does; the last line is the result."""
    text, source = lines(file, path)
    if source == "synthetic":
        yield MADE_UP
    cleaned = clean.clean(text)
    if since is not None:
        cleaned = clean.since(cleaned, localtime.to_utc(datetime(since, 1, 1)))
    yield f"prices: {cleaned.summary()}"
    yield f"prices of {AREA}: {write(url, cleaned, source)}"


def write(url: str, cleaned: clean.Cleaned, source: str) -> Counts:
    with psycopg.connect(url, application_name="legacy-loader") as connection:
        return upsert(connection, TARGET, _rows(cleaned, source), overwrite=source != "synthetic")


def _rows(cleaned: clean.Cleaned, source: str) -> Iterator[tuple[Any, ...]]:
    for hour, price in cleaned.prices.items():
        ts, flag = localtime.to_local(hour)
        yield AREA, ts, flag, price, source
