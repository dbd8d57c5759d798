"""Market prices: ranges, local days, and batches that may come again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.localtime import ZONE_NAME
from services.pricing.domain.prices import MarketPrice, PriceDay, Stored
from services.pricing.store.tables import MARKET_PRICES as PRICES


def _between(area: str, start: datetime, end: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(PRICES.c.area == area, PRICES.c.starts_at >= start, PRICES.c.starts_at < end)


async def between(
    connection: AsyncConnection, area: str, start: datetime, end: datetime, limit: int | None = None
) -> list[MarketPrice]:
    """The prices of the half-open range, in the order of time."""
    statement = (
        sa.select(PRICES.c.starts_at, PRICES.c.price, PRICES.c.source)
        .where(_between(area, start, end))
        .order_by(PRICES.c.starts_at)
        .limit(limit)
    )
    return [MarketPrice(*row) for row in await connection.execute(statement)]


async def days_between(connection: AsyncConnection, area: str, start: datetime, end: datetime) -> list[PriceDay]:
    """Lowest and highest price of each local day in the range that has prices."""
    local = sa.cast(sa.func.timezone(ZONE_NAME, PRICES.c.starts_at), sa.Date).label("day")
    statement = (
        sa.select(local, sa.func.min(PRICES.c.price), sa.func.max(PRICES.c.price), sa.func.count())
        .where(_between(area, start, end))
        .group_by(sa.text("1"))
        .order_by(sa.text("1"))
    )
    return [PriceDay(*row) for row in await connection.execute(statement)]


_STORE = sa.text("""
    INSERT INTO market_prices AS kept (area, starts_at, price, source)
    SELECT :area, starts_at, price, :source
    FROM unnest(CAST(:starts AS timestamptz[]), CAST(:prices AS numeric[])) AS given (starts_at, price)
    ORDER BY starts_at
    ON CONFLICT (area, starts_at) DO UPDATE
        SET price = excluded.price, source = excluded.source, updated_at = now()
        WHERE (kept.price, kept.source) IS DISTINCT FROM (excluded.price, excluded.source)
    RETURNING xmax = 0 AS is_new
""")


async def store(connection: AsyncConnection, area: str, source: str, prices: Mapping[datetime, Decimal]) -> Stored:
    """Insert what is new and update what differs, in one statement; sorted, so that two batches cannot deadlock."""
    values = {"area": area, "source": source, "starts": list(prices), "prices": list(prices.values())}
    changed = [row.is_new for row in await connection.execute(_STORE, values)]
    inserted = sum(changed)
    return Stored(inserted, len(changed) - inserted, len(prices) - len(changed))
