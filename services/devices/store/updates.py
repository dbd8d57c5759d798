"""Updates of the agent: signed once, given to a share of the fleet, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.versions import is_for, is_news, numbers
from services.devices.store.fleet_tables import UPDATE_STATES, UPDATES

_U, _S = UPDATES.c, UPDATE_STATES.c


@dataclass(frozen=True, slots=True)
class Update:
    """`payload` and `signature` as they are sent."""

    version: str
    url: str
    sha256: str
    size: int
    min_version: str | None
    percent: int
    created_at: datetime
    expires_at: datetime
    payload: str
    signature: str
    key_id: str


_COLUMNS = (
    _U.version, _U.url, _U.sha256, _U.size, _U.min_version, _U.percent, _U.created_at, _U.expires_at, _U.payload,
    _U.signature, _U.key_id,
)  # fmt: skip


async def add(connection: AsyncConnection, update: Update) -> bool:
    """False, and nothing done, when there is one of this version: what was signed does not change."""
    values = {name: getattr(update, name) for name in Update.__slots__}
    statement = insert(UPDATES).values(**values).on_conflict_do_nothing().returning(_U.version)
    return (await connection.execute(statement)).one_or_none() is not None


async def set_percent(connection: AsyncConnection, version: str, percent: int) -> Update | None:
    statement = sa.update(UPDATES).where(_U.version == version).values(percent=percent).returning(*_COLUMNS)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Update(*row)


async def all_(connection: AsyncConnection, limit: int = 100) -> list[Update]:
    """Newest first."""
    rows = await connection.execute(sa.select(*_COLUMNS).order_by(_U.created_at.desc()).limit(limit))
    return [Update(*row) for row in rows]


async def for_device(connection: AsyncConnection, device_id: int, current: str | None = None) -> Update | None:
    """The highest version that is given to this device, and not too old for it."""
    rows = await connection.execute(sa.select(*_COLUMNS).where(_U.expires_at > sa.func.now(), _U.percent > 0))
    given = [update for update in (Update(*row) for row in rows) if is_for(update.percent, device_id)]
    news = [update for update in given if is_news(update.version, update.min_version, current)]
    return max(news, key=lambda update: numbers(update.version), default=None)


async def tell(connection: AsyncConnection, device_id: int, version: str, state: str, note: str) -> bool:
    """Keep how far the device is; False when there is no such version."""
    if await connection.scalar(sa.select(_U.version).where(_U.version == version)) is None:
        return False
    new: dict[str, Any] = {"state": state, "note": note, "at": sa.func.now()}
    statement = insert(UPDATE_STATES).values(device_id=device_id, version=version, **new)
    await connection.execute(statement.on_conflict_do_update(index_elements=["device_id", "version"], set_=new))
    return True


async def states(connection: AsyncConnection, versions: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many devices are how far, by version."""
    statement = (
        sa.select(_S.version, _S.state, sa.func.count()).where(_S.version.in_(versions)).group_by(_S.version, _S.state)
    )
    found: dict[str, dict[str, int]] = {version: {} for version in versions}
    for version, state, count in await connection.execute(statement):
        found[version][state] = count
    return found
