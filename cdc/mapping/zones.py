"""Do a database and this process know the same rules of a time zone? Both bring a copy of tzdata, of some year each.

Where they differ, SQL and Python would give different instants for the same local time, so bulk work must not use SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from cdc.mapping.table import TableMapping

# Local times of older rows than this are rare, and of later ones guesses of both.
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)

OFFSETS = """
SELECT extract(epoch FROM (i AT TIME ZONE %(zone)s) - (i AT TIME ZONE 'UTC'))::integer
  FROM unnest(%(instants)s::timestamptz[]) WITH ORDINALITY AS u(i, n) ORDER BY n
"""


def disagreement(connection: psycopg.Connection[Any], *tables: TableMapping) -> str | None:
    """What is told to a person when SQL may not be used for these tables on this server; None when it may."""
    rules = (rule for table in tables for rule in table.rules)
    for zone in sorted({rule.converter.zone for rule in rules if rule.converter and rule.converter.zone}):
        if (moment := differs(connection, zone)) is not None:
            return (
                f"the database's rules of {zone} are not those of this machine (at {moment:%Y-%m-%d %H:%M}Z):"
                " bring tzdata of both to one version"
            )
    return None


def differs(connection: psycopg.Connection[Any], zone: str) -> datetime | None:
    """The first moment looked at where the two clocks differ: each day, and each side of every change of the clock."""
    known = _known(zone)
    try:
        found = connection.execute(OFFSETS, {"zone": zone, "instants": [instant for instant, _ in known]}).fetchall()
    except psycopg.errors.InvalidParameterValue:  # a zone that the server does not know
        return FIRST
    for (instant, here), (there,) in zip(known, found, strict=True):
        if here != there:
            return instant
    return None


@cache
def _known(zone: str) -> tuple[tuple[datetime, int], ...]:
    here = ZoneInfo(zone)
    return tuple((instant, _offset(here, instant)) for instant in _moments(here))


def _moments(zone: ZoneInfo) -> Iterator[datetime]:
    day, offset = FIRST, _offset(zone, FIRST)
    while day < LAST:
        yield day
        after = day + DAY
        if (changed := _offset(zone, after)) != offset:
            change = _change(zone, day, after, offset)
            yield from (change - SECOND, change)
        day, offset = after, changed


def _change(zone: ZoneInfo, low: datetime, high: datetime, offset: int) -> datetime:
    """The second from which the offset is another one."""
    while high - low > SECOND:
        middle = low + (high - low) // SECOND // 2 * SECOND
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return high


def _offset(zone: ZoneInfo, instant: datetime) -> int:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None, "a moment in a zone has an offset"
    return round(offset.total_seconds())
