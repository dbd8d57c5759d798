"""Devices: who they are, and whose token it is."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.references import patiently
from services.devices.domain.devices import Device
from services.devices.store.tables import CUSTOMER_REFS, DEVICES

_COLUMNS = (
    DEVICES.c.id, DEVICES.c.serial, DEVICES.c.customer_id, DEVICES.c.model, DEVICES.c.capacity_wh,
    DEVICES.c.max_power_w, DEVICES.c.state, DEVICES.c.registered_at,
)  # fmt: skip


async def customer_is_known(connection: AsyncConnection, customer_id: int) -> bool:
    statement = sa.select(CUSTOMER_REFS.c.id).where(CUSTOMER_REFS.c.id == customer_id)
    return await patiently(lambda: connection.scalar(statement)) is not None


async def add(
    connection: AsyncConnection,
    *,
    serial: str,
    customer_id: int,
    model: str,
    capacity_wh: int,
    max_power_w: int,
    token_sha1: str,
) -> Device | None:
    """The new device; None, and nothing done, when the serial is taken."""
    statement = (
        insert(DEVICES)
        .values(
            serial=serial,
            customer_id=customer_id,
            model=model,
            capacity_wh=capacity_wh,
            max_power_w=max_power_w,
            token_sha1=token_sha1,
            state="new",
        )
        .on_conflict_do_nothing(index_elements=["serial"])
        .returning(*_COLUMNS)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Device(*row)


async def get(connection: AsyncConnection, device_id: int) -> Device | None:
    row = (await connection.execute(sa.select(*_COLUMNS).where(DEVICES.c.id == device_id))).one_or_none()
    return None if row is None else Device(*row)


async def page(connection: AsyncConnection, after: int, limit: int) -> list[Device]:
    statement = sa.select(*_COLUMNS).where(DEVICES.c.id > after).order_by(DEVICES.c.id).limit(limit)
    return [Device(*row) for row in await connection.execute(statement)]
