"""Schedules with their former versions, fallbacks, and the commands that go before them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.devices import Command, Schedule, Slot
from services.devices.store.fleet_tables import FALLBACKS, SCHEDULE_VERSIONS
from services.devices.store.slots import from_json, to_json
from services.devices.store.tables import COMMANDS, SCHEDULES

MOST_COMMANDS = 100
#: Former versions that are kept of each device.
KEPT_VERSIONS = 100

# In the order of ids: two publications at once must not wait for each other.
_PUT = sa.text("""
    WITH put AS (
        INSERT INTO schedules AS s (device_id, version, slots)
        SELECT id, 1, CAST(:slots AS jsonb) FROM unnest(CAST(:ids AS bigint[])) AS i (id) ORDER BY id
        ON CONFLICT (device_id) DO UPDATE SET version = s.version + 1, slots = excluded.slots, updated_at = now()
         WHERE s.slots <> excluded.slots
        RETURNING device_id, version, slots
    ), kept AS (
        INSERT INTO schedule_versions (device_id, version, slots) SELECT device_id, version, slots FROM put
        ON CONFLICT (device_id, version) DO UPDATE SET slots = excluded.slots, created_at = now()
    ), dropped AS (
        DELETE FROM schedule_versions AS v USING put
         WHERE v.device_id = put.device_id AND v.version <= put.version - :kept
    )
    SELECT device_id FROM put
""")


async def get(connection: AsyncConnection, device_id: int) -> Schedule:
    statement = sa.select(SCHEDULES.c.version, SCHEDULES.c.slots, SCHEDULES.c.updated_at)
    row = (await connection.execute(statement.where(SCHEDULES.c.device_id == device_id))).one_or_none()
    return Schedule() if row is None else Schedule(row.version, from_json(row.slots), row.updated_at)


async def put(connection: AsyncConnection, device_id: int, slots: tuple[Slot, ...]) -> Schedule:
    """The schedule with these slots. Equal slots keep their version."""
    await put_many(connection, [device_id], slots)
    return await get(connection, device_id)


async def put_many(connection: AsyncConnection, ids: Sequence[int], slots: tuple[Slot, ...]) -> int:
    """The same slots for many devices; for how many they are new."""
    wanted = sa.bindparam("slots", to_json(slots), type_=JSONB)
    result = await connection.execute(_PUT.bindparams(wanted), {"ids": sorted(ids), "kept": KEPT_VERSIONS})
    return len(result.all())


async def put_fallback(connection: AsyncConnection, device_id: int, slots: tuple[Slot, ...], after_s: int) -> int:
    """The fallback's version; it grows when something is new."""
    new = {"slots": to_json(slots), "after_s": after_s}
    statement = insert(FALLBACKS).values(device_id=device_id, version=1, **new)
    statement = statement.on_conflict_do_update(
        index_elements=["device_id"],
        set_={"version": FALLBACKS.c.version + 1, "updated_at": sa.func.now(), **new},
        where=sa.or_(FALLBACKS.c.slots != statement.excluded.slots, FALLBACKS.c.after_s != after_s),
    )
    await connection.execute(statement)
    return await fallback_version(connection, device_id)


async def fallback_version(connection: AsyncConnection, device_id: int) -> int:
    statement = sa.select(FALLBACKS.c.version).where(FALLBACKS.c.device_id == device_id)
    return await connection.scalar(statement) or 0


async def versions(connection: AsyncConnection, device_id: int, before: int | None, limit: int) -> list[Schedule]:
    """What the schedule was, newest first."""
    v = SCHEDULE_VERSIONS.c
    statement = sa.select(v.version, v.slots, v.created_at).where(v.device_id == device_id)
    if before is not None:
        statement = statement.where(v.version < before)
    rows = await connection.execute(statement.order_by(v.version.desc()).limit(limit))
    return [Schedule(row.version, from_json(row.slots), row.created_at) for row in rows]


async def open_commands(connection: AsyncConnection, device_id: int) -> list[Command]:
    """The device's commands that have not expired, oldest first."""
    columns = (COMMANDS.c.ref, COMMANDS.c.mode, COMMANDS.c.power_w, COMMANDS.c.issued_at, COMMANDS.c.expires_at)
    statement = (
        sa.select(*columns)
        .where(COMMANDS.c.device_id == device_id, COMMANDS.c.expires_at > sa.func.now(), COMMANDS.c.state != "expired")
        .order_by(COMMANDS.c.id)
        .limit(MOST_COMMANDS)
    )
    return [Command(*row) for row in await connection.execute(statement)]
