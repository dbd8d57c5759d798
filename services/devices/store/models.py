"""The registry of the planner's versions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.optimizer.models import Kind, Model
from services.devices.store.tables import PLANNER_MODELS

# "BNPM": versions are numbered without a gap, and one of them is active, also when two are added at once.
_LOCK = sa.text("SELECT pg_advisory_xact_lock(x'424E504D'::int)")

_C = PLANNER_MODELS.c
_COLUMNS = (_C.version, _C.kind, _C.settings, _C.note, _C.active, _C.created_at)


async def active(connection: AsyncConnection) -> Model:
    return Model(*(await connection.execute(sa.select(*_COLUMNS).where(_C.active))).one())


async def get(connection: AsyncConnection, version: int) -> Model | None:
    row = (await connection.execute(sa.select(*_COLUMNS).where(_C.version == version))).one_or_none()
    return None if row is None else Model(*row)


async def newest(connection: AsyncConnection, limit: int = 100) -> list[Model]:
    rows = await connection.execute(sa.select(*_COLUMNS).order_by(_C.version.desc()).limit(limit))
    return [Model(*row) for row in rows]


async def add(connection: AsyncConnection, kind: Kind, settings: dict[str, Any], note: str) -> Model:
    """A new version, not active yet."""
    await connection.execute(_LOCK)
    following = sa.select(sa.func.coalesce(sa.func.max(_C.version), 0) + 1).scalar_subquery()
    statement = sa.insert(PLANNER_MODELS).values(version=following, kind=kind, settings=settings, note=note)
    return Model(*(await connection.execute(statement.returning(*_COLUMNS))).one())


async def activate(connection: AsyncConnection, version: int) -> Model | None:
    """Make it the active one; None, and nothing done, when there is no such version."""
    await connection.execute(_LOCK)
    if await get(connection, version) is None:
        return None
    await connection.execute(sa.update(PLANNER_MODELS).where(_C.active, _C.version != version).values(active=False))
    statement = sa.update(PLANNER_MODELS).where(_C.version == version).values(active=True)
    return Model(*(await connection.execute(statement.returning(*_COLUMNS))).one())
