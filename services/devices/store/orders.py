"""Orders to one device, first in first out: written in `commands`, which the monolith knows, and in `command_progress`.

One writer a device at a time (an advisory lock), so the order of ids is the order of commits, and of two commands that
are issued at once one supersedes the other.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.store import assignments, progress
from services.devices.store.progress import Progress
from services.devices.store.tables import COMMANDS

_C = COMMANDS.c
# "BNCM"
_LOCK = sa.text("SELECT pg_advisory_xact_lock(x'424E434D'::int, hashint8(:id))")


@dataclass(frozen=True, slots=True)
class Order:
    """`prefix` begins the reference, and says to a reader of logs where it came from."""

    mode: str
    power_w: int
    duration: timedelta
    issuer: str = "api"
    prefix: str = "ovr"
    idempotency_key: str | None = None
    replay_of: uuid.UUID | None = None


async def lock(connection: AsyncConnection, device_id: int) -> None:
    """Until the end of the transaction nobody else gives the device orders."""
    await connection.execute(_LOCK, {"id": device_id})


async def issue(
    connection: AsyncConnection, device_id: int, order: Order, now: datetime
) -> tuple[Progress, list[Progress]]:
    """The new command, and those that it supersedes; under `lock`."""
    replaced = await withdraw_open(connection, device_id, "a newer command took its place")
    ref = f"{order.prefix}-{uuid.uuid4().hex[:20]}"
    expires_at = now + order.duration
    await connection.execute(
        sa.insert(COMMANDS).values(
            device_id=device_id,
            ref=ref,
            mode=order.mode,
            power_w=order.power_w,
            state="queued",
            issued_at=now,
            expires_at=expires_at,
        )
    )
    made = await progress.add(
        connection,
        ref=ref,
        device_id=device_id,
        issuer=order.issuer,
        epoch=await assignments.epoch(connection, device_id),
        mode=order.mode,
        power_w=order.power_w,
        supersedes=replaced[-1].ref if replaced else None,
        replay_of=order.replay_of,
        idempotency_key=order.idempotency_key,
        issued_at=now,
        expires_at=expires_at,
    )
    return made, replaced


async def withdraw_open(connection: AsyncConnection, device_id: int, note: str) -> list[Progress]:
    """End every open command of the device; under `lock`. Those that a device has finished stay finished."""
    open_ = sa.and_(_C.device_id == device_id, _C.expires_at > sa.func.now(), _C.state != "expired")
    return await _withdraw(connection, open_, note)


async def withdraw(connection: AsyncConnection, ref: str, note: str) -> list[Progress]:
    return await _withdraw(connection, sa.and_(_C.ref == ref, _C.state != "expired"), note)


async def _withdraw(connection: AsyncConnection, which: sa.ColumnElement[bool], note: str) -> list[Progress]:
    statement = sa.update(COMMANDS).where(which).values(state="expired").returning(_C.ref, _C.id)
    rows = sorted((await connection.execute(statement)).all(), key=lambda row: row.id)
    moved = {p.ref: p for p in await progress.supersede(connection, [row.ref for row in rows], note)} if rows else {}
    return [moved[row.ref] for row in rows if row.ref in moved]
