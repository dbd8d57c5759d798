"""Imbalance prices: appended as revisions, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.market.prices import Price
from services.devices.store.tables import IMBALANCE_PRICES

#: How far back the usual price of a quarter-hour is looked for, and how long prices are kept.
USUAL = timedelta(days=7)
KEPT = timedelta(days=800)

# A price that was validated is not taken back by a provisional one that comes late. Two processes at once make the same
# revision, and the second finds it taken.
_APPEND = sa.text("""
    INSERT INTO imbalance_prices (area, starts_at, minutes, revision, price, quality, source)
    SELECT i.area, i.starts_at, i.minutes, coalesce(n.revision, 0) + 1, i.price, i.quality, i.source
    FROM unnest(CAST(:areas AS text[]), CAST(:starts AS timestamptz[]), CAST(:minutes AS smallint[]),
                CAST(:prices AS numeric[]), CAST(:qualities AS text[]), CAST(:sources AS text[]))
         AS i (area, starts_at, minutes, price, quality, source)
    LEFT JOIN LATERAL (
        SELECT p.revision, p.price, p.quality FROM imbalance_prices AS p
        WHERE (p.area, p.starts_at, p.minutes) = (i.area, i.starts_at, i.minutes) ORDER BY p.revision DESC LIMIT 1
    ) AS n ON true
    WHERE n.revision IS NULL
       OR (n.price, n.quality) IS DISTINCT FROM (i.price, i.quality)
          AND (n.quality = 'provisional' OR i.quality = 'validated')
    ON CONFLICT DO NOTHING
    RETURNING 1
""")

_USUAL = sa.text("""
    SELECT CAST(extract(epoch FROM starts_at) AS bigint) / 900 % 96 AS quarter, CAST(avg(price) AS float8) AS price
    FROM (
        SELECT DISTINCT ON (starts_at, minutes) starts_at, price FROM imbalance_prices
        WHERE area = :area AND starts_at > :since AND starts_at <= :now
        ORDER BY starts_at, minutes, revision DESC
    ) AS newest
    GROUP BY 1
""")

_COLUMNS = (
    IMBALANCE_PRICES.c.area, IMBALANCE_PRICES.c.starts_at, IMBALANCE_PRICES.c.minutes, IMBALANCE_PRICES.c.price,
    IMBALANCE_PRICES.c.quality, IMBALANCE_PRICES.c.source,
)  # fmt: skip


async def append(connection: AsyncConnection, prices: Sequence[Price]) -> int:
    """How many were new or say something else than before. The same again writes nothing."""
    values: dict[str, list[Any]] = {
        "areas": [p.area for p in prices],
        "starts": [p.starts_at for p in prices],
        "minutes": [p.minutes for p in prices],
        "prices": [p.price for p in prices],
        "qualities": [p.quality for p in prices],
        "sources": [p.source for p in prices],
    }
    return len((await connection.execute(_APPEND, values)).all())


async def newest(connection: AsyncConnection, area: str, now: datetime) -> Price | None:
    """The newest revision of the stretch that began last; of two such the shorter."""
    key = IMBALANCE_PRICES.c
    statement = (
        sa.select(*_COLUMNS)
        .where(key.area == area, key.starts_at <= now)
        .order_by(key.starts_at.desc(), key.minutes, key.revision.desc())
        .limit(1)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Price(*row)


async def starts(
    connection: AsyncConnection, area: str, minutes: int, since: datetime, until: datetime
) -> list[datetime]:
    """The stretches that have a price."""
    key = IMBALANCE_PRICES.c
    mine = sa.and_(key.area == area, key.minutes == minutes, key.starts_at >= since, key.starts_at < until)
    statement = sa.select(key.starts_at).where(mine).distinct()
    return list((await connection.execute(statement)).scalars())


async def usual(connection: AsyncConnection, area: str, now: datetime) -> dict[int, float]:
    """The mean price of the last days by quarter-hour of the UTC day; those without one are left out."""
    rows = await connection.execute(_USUAL, {"area": area, "since": now - USUAL, "now": now})
    return {int(quarter): price for quarter, price in rows}


async def forget(connection: AsyncConnection, area: str, now: datetime) -> None:
    key = IMBALANCE_PRICES.c
    await connection.execute(sa.delete(IMBALANCE_PRICES).where(key.area == area, key.starts_at < now - KEPT))
