"""What batteries measured, and what became of what they were told: by day, for a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.devices import Ack
from services.devices.store.fleet_tables import EXECUTION_LOG, TELEMETRY

_T, _L = TELEMETRY.c, EXECUTION_LOG.c


@dataclass(frozen=True, slots=True)
class Sample:
    """`power_w` > 0 charges."""

    observed_at: datetime
    power_w: int
    soc: float | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    received_at: datetime
    observed_at: datetime
    ref: str
    state: str
    note: str


async def add(connection: AsyncConnection, device_id: int, samples: Sequence[Sample]) -> int:
    """How many were new; of a moment there is one sample."""
    rows = [
        {"device_id": device_id, "observed_at": s.observed_at, "power_w": s.power_w, "soc": s.soc, "mode": s.mode}
        for s in samples
    ]
    statement = insert(TELEMETRY).values(rows).on_conflict_do_nothing().returning(_T.observed_at)
    return len((await connection.execute(statement)).all())


async def of(connection: AsyncConnection, device_id: int, since: datetime, until: datetime, limit: int) -> list[Sample]:
    """In their order."""
    mine = sa.and_(_T.device_id == device_id, _T.observed_at >= since, _T.observed_at < until)
    statement = sa.select(_T.observed_at, _T.power_w, _T.soc, _T.mode).where(mine)
    return [Sample(*row) for row in await connection.execute(statement.order_by(_T.observed_at).limit(limit))]


async def log(connection: AsyncConnection, acks: Sequence[Ack]) -> None:
    """Reports that are kept for a time only, beside the acknowledgements that the monolith shares."""
    rows = [
        {
            "received_at": ack.received_at,
            "device_id": ack.device_id,
            "ref": ack.ref,
            "state": ack.state,
            "note": ack.note,
            "observed_at": ack.observed_at,
        }
        for ack in acks
    ]
    await connection.execute(sa.insert(EXECUTION_LOG).values(rows))


async def logged(
    connection: AsyncConnection,
    device_id: int,
    since: datetime,
    until: datetime,
    before: tuple[datetime, str, str] | None,
    limit: int,
) -> list[Entry]:
    """Newest first."""
    mine = sa.and_(_L.device_id == device_id, _L.received_at >= since, _L.received_at < until)
    statement = sa.select(_L.received_at, _L.observed_at, _L.ref, _L.state, _L.note).where(mine)
    order = (_L.received_at, _L.ref, _L.state)
    if before is not None:
        statement = statement.where(sa.tuple_(*order) < sa.tuple_(*map(sa.literal, before)))
    statement = statement.order_by(*(column.desc() for column in order)).limit(limit)
    return [Entry(*row) for row in await connection.execute(statement)]
