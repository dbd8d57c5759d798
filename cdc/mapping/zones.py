"""Do a database and this process know the same rules of a time zone? Both bring a copy of tzdata, of some year each.

Where they differ, SQL and Python would give different instants for the same local time, so bulk work must not use SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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


def disagreement(connection: psycopg.Connection[Any], table: TableMapping) -> str | None:
    """What is told to a person when SQL may not be used for this table on this server; None when it may."""
    for zone in sorted({rule.converter.zone for rule in table.rules if rule.converter and rule.converter.zone}):
        if (moment := differs(connection, zone)) is not None:
            return (
                f"the database's rules of {zone} are not those of this machine (at {moment:%Y-%m-%d %H:%M}Z):"
                " bring tzdata of both to one version"
            )
    return None


def differs(connection: psycopg.Connection[Any], zone: str) -> datetime | None:
    """The first moment looked at where the two clocks differ: each day, and each side of every change of the clock."""
    here = ZoneInfo(zone)
    instants = list(_moments(here))
    try:
        found = connection.execute(OFFSETS, {"zone": zone, "instants": instants}).fetchall()
    except psycopg.errors.InvalidParameterValue:  # a zone that the server does not know
        return FIRST
    for instant, (seconds,) in zip(instants, found, strict=True):
        if _offset(here, instant) != seconds:
            return instant
    return None


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
