"""The fleet as the market's job sees it: who is active, how full, doing what; and the commands that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.assignment import epoch_of
from services.devices.store import assignments
from services.devices.store.fleet_tables import ENROLMENTS
from services.devices.store.tables import BATTERY_STATES, DEVICES


@dataclass(frozen=True, slots=True)
class Member:
    """`soc` a fraction, None when it was never told; `mode` what was last decided, `since` when."""

    id: int
    capacity_wh: int
    max_power_w: int
    soc: float | None
    soc_at: datetime | None
    mode: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class NewCommand:
    device_id: int
    ref: str
    mode: str
    power_w: int


_INSERT = sa.text("""
    WITH written AS (
        INSERT INTO commands (device_id, ref, mode, power_w, state, issued_at, expires_at)
        SELECT device_id, ref, mode, power_w, 'queued', :issued_at, :expires_at
        FROM unnest(CAST(:ids AS bigint[]), CAST(:refs AS text[]), CAST(:modes AS text[]), CAST(:powers AS integer[]))
             AS i (device_id, ref, mode, power_w)
        ON CONFLICT (ref) DO NOTHING
        RETURNING device_id, ref, mode, power_w, issued_at, expires_at
    )
    INSERT INTO command_progress (device_id, ref, issuer, epoch, mode, power_w, issued_at, expires_at)
    SELECT w.device_id, w.ref, 'market', e.epoch, w.mode, w.power_w, w.issued_at, w.expires_at
    FROM written AS w
    JOIN unnest(CAST(:ids AS bigint[]), CAST(:epochs AS bigint[])) AS e (device_id, epoch) USING (device_id)
    ON CONFLICT (ref) DO NOTHING
    RETURNING 1
""")

_DECIDED = sa.text("""
    INSERT INTO battery_states AS s (device_id, mode, since)
    SELECT device_id, mode, :now FROM unnest(CAST(:ids AS bigint[]), CAST(:modes AS text[])) AS i (device_id, mode)
    ON CONFLICT (device_id) DO UPDATE SET mode = excluded.mode, since = excluded.since WHERE s.mode <> excluded.mode
""")


async def active(connection: AsyncConnection, ids: Sequence[int] | None = None) -> list[Member]:
    """Every active battery that is not still to show that it obeys, or those of `ids`."""
    d, s, e = DEVICES.c, BATTERY_STATES.c, ENROLMENTS.c
    mode = sa.func.coalesce(s.mode, "idle")
    statement = (
        sa.select(d.id, d.capacity_wh, d.max_power_w, s.soc, s.soc_at, mode, s.since)
        .select_from(DEVICES.outerjoin(BATTERY_STATES, s.device_id == d.id).outerjoin(ENROLMENTS, e.device_id == d.id))
        .where(d.state == "active", sa.or_(e.state.is_(None), e.state == "live"))
    )
    if ids is not None:
        statement = statement.where(d.id == sa.func.any(sa.cast(list(ids), sa.ARRAY(sa.BigInteger))))
    return [Member(*row) for row in await connection.execute(statement)]


async def command(
    connection: AsyncConnection, commands: Sequence[NewCommand], issued_at: datetime, expires_at: datetime
) -> int:
    """How many were written; a reference that is there already, from either side, writes nothing."""
    waves = await assignments.waves(connection)
    values = {
        "ids": [c.device_id for c in commands],
        "refs": [c.ref for c in commands],
        "modes": [c.mode for c in commands],
        "powers": [c.power_w for c in commands],
        "issued_at": issued_at,
        "expires_at": expires_at,
        "epochs": [epoch_of(waves, c.device_id) for c in commands],
    }
    return len((await connection.execute(_INSERT, values)).all())


async def decided(connection: AsyncConnection, modes: dict[int, str], now: datetime) -> None:
    """Note what each battery should do; one that goes on keeps the time since when."""
    await connection.execute(_DECIDED, {"ids": list(modes), "modes": list(modes.values()), "now": now})


async def report(connection: AsyncConnection, device_id: int, soc: float, observed_at: datetime) -> bool:
    """A battery tells its charge; False when a newer report is there already."""
    statement = insert(BATTERY_STATES).values(device_id=device_id, soc=soc, soc_at=observed_at)
    statement = statement.on_conflict_do_update(
        index_elements=["device_id"],
        set_={"soc": statement.excluded.soc, "soc_at": statement.excluded.soc_at},
        where=BATTERY_STATES.c.soc_at.is_(None) | (BATTERY_STATES.c.soc_at < statement.excluded.soc_at),
    )
    return (await connection.execute(statement.returning(BATTERY_STATES.c.device_id))).one_or_none() is not None
