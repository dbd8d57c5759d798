"""Tokens of devices: whose one is, and how a new one takes over.

`devices.token_sha1` is the one that the monolith knows too, so it must always be one that the device has. Therefore:

1. a rotation keeps the new token aside, as `next`; the device may never have heard of it;
2. whoever calls with it has it: now it goes to `devices`, and with it to the monolith;
3. the one before is `old`, and good for an overlap: a call that is under way with it is answered.

While the monolith owns the device step 2 waits: the guard refuses it, and `next` stays good here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.chassis.auth import DeviceLookup
from services.chassis.database import problem_of
from services.chassis.errors import Misdirected
from services.devices.store.tables import DEVICES

log = structlog.get_logger()

OVERLAP = timedelta(days=1)
#: How long a token that was never used waits for its first use.
UNUSED = timedelta(days=30)

_LOOKUP = sa.text("""
    SELECT token_sha1, id, 'current' AS kind FROM devices
     WHERE token_sha1 = ANY (CAST(:sha1s AS text[])) AND state <> 'retired'
    UNION ALL
    SELECT t.token_sha1, t.device_id, t.kind
      FROM device_tokens t JOIN devices d ON d.id = t.device_id AND d.state <> 'retired'
     WHERE t.token_sha1 = ANY (CAST(:sha1s AS text[])) AND t.expires_at > now()
""")
_TAKE = sa.text("DELETE FROM device_tokens WHERE token_sha1 = :sha1 AND kind = 'next' RETURNING device_id")
_KEEP_OLD = sa.text("""
    INSERT INTO device_tokens (token_sha1, device_id, kind, expires_at)
    SELECT token_sha1, id, 'old', now() + :overlap FROM devices WHERE id = :id
    ON CONFLICT (token_sha1) DO UPDATE SET expires_at = excluded.expires_at
""")
_OFFER = sa.text("""
    INSERT INTO device_tokens (token_sha1, device_id, kind, expires_at) VALUES (:sha1, :id, 'next', now() + :unused)
""")
_DROP = sa.text("DELETE FROM device_tokens WHERE device_id = :id AND (kind = 'next' OR :every OR expires_at < now())")


def device_lookup(reader: AsyncEngine) -> DeviceLookup:
    """Finds the device of a token, unless it is retired; a new token takes over when it comes for the first time."""
    engine = reader.execution_options(isolation_level="READ COMMITTED")

    async def device_of(sha1: str) -> int | None:
        async with reader.connect() as connection:
            rows = await devices_of(connection, [sha1])
        if not rows:
            return None
        _, device, kind = rows[0]
        if kind == "next":
            await _promote(engine, sha1)
        return device

    return device_of


async def devices_of(connection: AsyncConnection, sha1s: Sequence[str]) -> list[tuple[str, int, str]]:
    """(token, device, kind) of those that are good: `current`, `next` or `old`."""
    rows = await connection.execute(_LOOKUP, {"sha1s": list(sha1s)})
    return [(row.token_sha1, row.id, row.kind) for row in rows]


async def _promote(engine: AsyncEngine, sha1: str) -> None:
    try:
        async with engine.begin() as connection:
            taken = await connection.scalar(_TAKE, {"sha1": sha1})
            if taken is not None:
                await connection.execute(_KEEP_OLD, {"id": taken, "overlap": OVERLAP})
                await replace(connection, taken, sha1)
                log.info("token taken over", device_id=taken)
    except DBAPIError as error:
        if not isinstance(problem_of(error), Misdirected):
            raise


async def replace(connection: AsyncConnection, device_id: int, sha1: str) -> None:
    """From now on this is the device's token, for the monolith too."""
    await connection.execute(sa.update(DEVICES).where(DEVICES.c.id == device_id).values(token_sha1=sha1))


async def offer(connection: AsyncConnection, device_id: int, sha1: str) -> None:
    """A token that takes over with its first use; one that never was used is void."""
    await connection.execute(_DROP, {"id": device_id, "every": False})
    await connection.execute(_OFFER, {"id": device_id, "sha1": sha1, "unused": UNUSED})


async def drop_others(connection: AsyncConnection, device_id: int) -> None:
    """Only the token in `devices` is left."""
    await connection.execute(_DROP, {"id": device_id, "every": True})
