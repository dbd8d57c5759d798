"""What is loaded when there is no network: made-up data of the same shape, with the same defects, from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime

from legacy_monolith.loader.clean import FORMATS, HEADER, HOUR

FIRST = datetime(2015, 1, 1, tzinfo=UTC)
END = datetime(2025, 1, 8, tzinfo=UTC)

#: Where the second date format takes over, and how many rows before it are repeated in it.
_CHANGE = datetime(2023, 10, 1, tzinfo=UTC)
_REPEATED = 6_553
_MISSING = {datetime(2016, 3, 4, 5, tzinfo=UTC), datetime(2019, 8, 7, 6, tzinfo=UTC)}


def price_lines(seed: int = 1, first: datetime = FIRST, end: datetime = END) -> Iterator[str]:
    """A file like the published one: daily and yearly rhythm, negative hours, duplicates, a blank row, two holes."""
    dice = random.Random(seed)  # noqa: S311
    rows: list[tuple[datetime, str]] = []
    hour, noise = first, 0.0
    while hour < end:
        noise = 0.9 * noise + dice.gauss(0, 12)
        evening = math.cos((hour.hour - 18) / 24 * math.tau)
        winter = math.cos((hour.timetuple().tm_yday - 15) / 365 * math.tau)
        if hour not in _MISSING:
            rows.append((hour, f"{55 + 35 * evening + 20 * winter + noise:.2f}"))
        hour += HOUR
    early = [row for row in rows if row[0] < _CHANGE]
    yield ",".join(HEADER)
    for hour, price in early:
        yield f"Netherlands,{hour.strftime(FORMATS[0])},,{price}"
    yield "Netherlands,,,0.0"
    for hour, price in early[-_REPEATED:] + rows[len(early) :]:
        yield f"Netherlands,{hour.strftime(FORMATS[1])},,{price}"


def load_lines(seed: int = 1, houses: int = 25, quarters: int = 35_040) -> Iterator[str]:
    """Household loads in kW, a quarter of an hour a line, a house a column."""
    dice = random.Random(seed)  # noqa: S311
    base = [dice.uniform(0.2, 1.5) for _ in range(houses)]
    for quarter in range(quarters):
        evening = 1 + math.cos((quarter % 96 - 76) / 96 * math.tau)
        yield ",".join(f"{mean * (0.4 + evening * dice.random()):.3f}" for mean in base)
