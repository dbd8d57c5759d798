"""Which devices are there: told by their calls, many at once, and by their silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.store.fleet_tables import CONNECTIONS, PRESENCE

_C, _P = CONNECTIONS.c, PRESENCE.c

# In the order of ids, so that two processes that saw the same devices do not wait for each other in a circle.
_SEEN = sa.text("""
    WITH seen AS (
        SELECT id, at FROM unnest(CAST(:ids AS bigint[]), CAST(:times AS timestamptz[])) AS i (id, at) ORDER BY id
    ), before AS (
        SELECT device_id FROM presence WHERE online AND device_id = ANY (CAST(:ids AS bigint[]))
    ), told AS (
        INSERT INTO presence AS p (device_id, online, since, last_seen_at, via)
        SELECT id, true, at, at, :via FROM seen ORDER BY id
        ON CONFLICT (device_id) DO UPDATE
           SET online = true, last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at), via = excluded.via,
               since = CASE WHEN p.online THEN p.since ELSE excluded.since END
    )
    INSERT INTO connections (device_id, at, online, reason)
    SELECT id, at, true, :via FROM seen WHERE id NOT IN (SELECT device_id FROM before)
    RETURNING device_id
""")
_SILENT = sa.text("""
    WITH gone AS (
        UPDATE presence SET online = false, since = :now
         WHERE device_id IN (
            SELECT device_id FROM presence WHERE online AND last_seen_at < CAST(:now AS timestamptz) - :after
             ORDER BY device_id LIMIT :most FOR UPDATE SKIP LOCKED)
        RETURNING device_id
    )
    INSERT INTO connections (device_id, at, online, reason) SELECT device_id, :now, false, 'silent' FROM gone
    RETURNING device_id
""")


@dataclass(frozen=True, slots=True)
class Presence:
    online: bool
    since: datetime
    last_seen_at: datetime
    via: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A device came or went."""

    id: int
    at: datetime
    online: bool
    reason: str


async def seen(connection: AsyncConnection, times: Mapping[int, datetime], via: str) -> list[int]:
    """These called; which of them were not there before."""
    values = {"ids": list(times), "times": list(times.values()), "via": via}
    return list((await connection.execute(_SEEN, values)).scalars())


async def silent(connection: AsyncConnection, now: datetime, after: timedelta, most: int) -> list[int]:
    """Those that were not heard of for so long are gone; which, at most so many."""
    return list((await connection.execute(_SILENT, {"now": now, "after": after, "most": most})).scalars())


async def get(connection: AsyncConnection, device_id: int) -> Presence | None:
    columns = (_P.online, _P.since, _P.last_seen_at, _P.via)
    row = (await connection.execute(sa.select(*columns).where(_P.device_id == device_id))).one_or_none()
    return None if row is None else Presence(*row)


async def history(connection: AsyncConnection, device_id: int, before: int | None, limit: int) -> list[Connection]:
    """Newest first."""
    statement = sa.select(_C.id, _C.at, _C.online, _C.reason).where(_C.device_id == device_id)
    if before is not None:
        statement = statement.where(_C.id < before)
    return [Connection(*row) for row in await connection.execute(statement.order_by(_C.id.desc()).limit(limit))]


async def forget(connection: AsyncConnection, before: datetime) -> None:
    await connection.execute(sa.delete(CONNECTIONS).where(_C.at < before))
