"""Schedules, and the commands that go before them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.devices import Command, Schedule, Slot
from services.devices.store.slots import from_json, to_json
from services.devices.store.tables import COMMANDS, SCHEDULES

MOST_COMMANDS = 100


async def get(connection: AsyncConnection, device_id: int) -> Schedule:
    statement = sa.select(SCHEDULES.c.version, SCHEDULES.c.slots, SCHEDULES.c.updated_at)
    row = (await connection.execute(statement.where(SCHEDULES.c.device_id == device_id))).one_or_none()
    return Schedule() if row is None else Schedule(row.version, from_json(row.slots), row.updated_at)


async def put(connection: AsyncConnection, device_id: int, slots: tuple[Slot, ...]) -> Schedule:
    """The schedule with these slots. Equal slots keep their version."""
    statement = insert(SCHEDULES).values(device_id=device_id, version=1, slots=to_json(slots))
    statement = statement.on_conflict_do_update(
        index_elements=["device_id"],
        set_={"version": SCHEDULES.c.version + 1, "slots": statement.excluded.slots, "updated_at": sa.func.now()},
        where=SCHEDULES.c.slots != statement.excluded.slots,
    )
    await connection.execute(statement)
    return await get(connection, device_id)


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
