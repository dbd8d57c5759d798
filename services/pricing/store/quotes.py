"""Quotes: what a price depends on in one query, the quote in a second."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.localtime import ZONE_NAME
from services.pricing.domain.quotes import Quote
from services.pricing.store.tables import QUOTES

AREA = "NL"
_COLUMNS = (
    QUOTES.c.id, QUOTES.c.client_ref, QUOTES.c.customer_id, QUOTES.c.tariff_code, QUOTES.c.energy_kwh, QUOTES.c.amount,
    QUOTES.c.state, QUOTES.c.created_at,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Basis:
    """What a quote depends on; without a tariff, all of its members are None.

    `rate_sum` EUR/kWh over 24 hours; `market_sum` EUR/MWh over `market_hours`; `earlier` the quote with the same key.
    """

    customer_known: bool
    state: str | None
    kind: str | None
    vat_rate: Decimal | None
    rate_sum: Decimal | None
    market_sum: Decimal | None
    market_hours: int | None
    earlier: Quote | None


# Dynamic tariffs are sold in one market area, at the mean of its newest stored day, a local one.
_BASIS = sa.text("""
    SELECT EXISTS (SELECT FROM customer_refs WHERE id = :customer_id) AS customer_known,
           t.state, t.kind, t.vat_rate, r.rate_sum, m.market_sum, m.market_hours,
           q.id, q.client_ref, q.customer_id, q.tariff_code, q.energy_kwh, q.amount, q.state, q.created_at
    FROM (SELECT) AS one
    LEFT JOIN quotes AS q ON q.client_ref = CAST(:client_ref AS text)
    LEFT JOIN tariffs AS t ON t.code = :code
    LEFT JOIN LATERAL (
        SELECT sum(price_per_kwh * (ends_hour - starts_hour)) AS rate_sum FROM tariff_rates WHERE tariff_id = t.id
    ) AS r ON t.kind = 'fixed'
    LEFT JOIN LATERAL (
        SELECT sum(price) AS market_sum, count(*) AS market_hours FROM market_prices
        WHERE area = :area AND starts_at >= (
            SELECT date_trunc('day', max(starts_at), CAST(:zone AS text)) FROM market_prices WHERE area = :area
        )
    ) AS m ON t.kind = 'dynamic'
""")


async def basis(connection: AsyncConnection, code: str, customer_id: int, client_ref: str | None) -> Basis:
    values = {"code": code, "customer_id": customer_id, "client_ref": client_ref, "area": AREA, "zone": ZONE_NAME}
    row: tuple[Any, ...] = tuple((await connection.execute(_BASIS, values)).one())
    earlier = row[7:]
    members: tuple[Any, ...] = (*row[:7], None if earlier[0] is None else Quote(*earlier))
    return Basis(*members)


async def add(
    connection: AsyncConnection,
    *,
    client_ref: str | None,
    customer_id: int,
    tariff_code: str,
    energy_kwh: Decimal,
    amount: Decimal,
) -> Quote | None:
    """The new quote; None, and nothing done, when there is one with this `client_ref`."""
    statement = (
        insert(QUOTES)
        .values(
            client_ref=client_ref,
            customer_id=customer_id,
            tariff_code=tariff_code,
            energy_kwh=energy_kwh,
            amount=amount,
            state="open",
        )
        .on_conflict_do_nothing(index_elements=["client_ref"])
        .returning(*_COLUMNS)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Quote(*row)


async def by_client_ref(connection: AsyncConnection, client_ref: str) -> Quote | None:
    return await _one(connection, QUOTES.c.client_ref == client_ref)


async def get(connection: AsyncConnection, quote_id: int) -> Quote | None:
    return await _one(connection, QUOTES.c.id == quote_id)


async def page(connection: AsyncConnection, customer_id: int | None, after: int, limit: int) -> list[Quote]:
    """At most `limit` quotes with an id above `after`, of one customer or of all."""
    statement = sa.select(*_COLUMNS).where(QUOTES.c.id > after).order_by(QUOTES.c.id).limit(limit)
    if customer_id is not None:
        statement = statement.where(QUOTES.c.customer_id == customer_id)
    return [Quote(*row) for row in await connection.execute(statement)]


async def _one(connection: AsyncConnection, condition: sa.ColumnElement[bool]) -> Quote | None:
    row = (await connection.execute(sa.select(*_COLUMNS).where(condition))).one_or_none()
    return None if row is None else Quote(*row)
