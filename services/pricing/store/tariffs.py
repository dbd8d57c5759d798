"""Tariffs with their rates: each read is one query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pricing.domain.tariffs import Rate, Tariff
from services.pricing.store.tables import TARIFF_RATES, TARIFFS

_COLUMNS = (
    TARIFFS.c.code, TARIFFS.c.name, TARIFFS.c.state, TARIFFS.c.kind, TARIFFS.c.standing_charge, TARIFFS.c.vat_rate,
    TARIFFS.c.valid_from, TARIFF_RATES.c.starts_hour, TARIFF_RATES.c.ends_hour, TARIFF_RATES.c.price_per_kwh,
)  # fmt: skip


def _c(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Byte order, whatever the database's own: the order must be the same on both sides."""
    return sa.collate(column, "C")


async def list_all(connection: AsyncConnection) -> list[Tariff]:
    """Every tariff, by code."""
    return await _read(connection, sa.select(TARIFFS).subquery("t"))


async def page(connection: AsyncConnection, after: str, limit: int) -> list[Tariff]:
    """At most `limit` tariffs whose code follows `after`."""
    some = sa.select(TARIFFS).where(_c(TARIFFS.c.code) > after).order_by(_c(TARIFFS.c.code)).limit(limit)
    return await _read(connection, some.subquery("t"))


async def get(connection: AsyncConnection, code: str) -> Tariff | None:
    found = await _read(connection, sa.select(TARIFFS).where(TARIFFS.c.code == code).subquery("t"))
    return found[0] if found else None


async def add(connection: AsyncConnection, tariff: Tariff) -> bool:
    """False, and nothing done, when the code is taken."""
    values = {name: value for name, value in asdict(tariff).items() if name != "rates"}
    statement = insert(TARIFFS).values(**values).on_conflict_do_nothing(index_elements=["code"])
    tariff_id = await connection.scalar(statement.returning(TARIFFS.c.id))
    if tariff_id is None:
        return False
    await _add_rates(connection, tariff_id, tariff.rates)
    return True


async def replace_rates(connection: AsyncConnection, code: str, rates: Sequence[Rate]) -> Tariff | None:
    """The tariff with its new rates; None when there is no such tariff.

    Two at once: the second waits for the row, then sees what the first has written. Equal rates are left alone.
    """
    tariff_id = await connection.scalar(sa.select(TARIFFS.c.id).where(TARIFFS.c.code == code).with_for_update())
    if tariff_id is None:
        return None
    tariff = await get(connection, code)
    if tariff is None or tariff.rates == tuple(rates):
        return tariff
    await connection.execute(sa.delete(TARIFF_RATES).where(TARIFF_RATES.c.tariff_id == tariff_id))
    await _add_rates(connection, tariff_id, rates)
    await connection.execute(sa.update(TARIFFS).where(TARIFFS.c.id == tariff_id).values(updated_at=sa.func.now()))
    return replace(tariff, rates=tuple(rates))


async def _add_rates(connection: AsyncConnection, tariff_id: int, rates: Sequence[Rate]) -> None:
    if rates:
        rows = [{"tariff_id": tariff_id, **asdict(rate)} for rate in rates]
        await connection.execute(sa.insert(TARIFF_RATES), rows)


async def _read(connection: AsyncConnection, tariffs: sa.Subquery) -> list[Tariff]:
    """Tariffs and rates in one query, in the order of codes and hours."""
    columns = [tariffs.c[column.name] if column.table is TARIFFS else column for column in _COLUMNS]
    statement = (
        sa.select(*columns)
        .select_from(tariffs.outerjoin(TARIFF_RATES, TARIFF_RATES.c.tariff_id == tariffs.c.id))
        .order_by(_c(tariffs.c.code), TARIFF_RATES.c.starts_hour)
    )
    return _grouped(await connection.execute(statement))


def _grouped(rows: Iterable[Any]) -> list[Tariff]:
    found: dict[str, tuple[Any, list[Rate]]] = {}
    for row in rows:
        _, rates = found.setdefault(row.code, (row, []))
        if row.starts_hour is not None:
            rates.append(Rate(row.starts_hour, row.ends_hour, row.price_per_kwh))
    return [
        Tariff(
            head.code,
            head.name,
            head.state,
            head.kind,
            head.standing_charge,
            head.vat_rate,
            head.valid_from,
            tuple(rates),
        )
        for head, rates in found.values()
    ]
