"""Acknowledgements: the same report twice is one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.commands import State, ack_as_the_monolith_knows
from services.devices.domain.devices import Ack, Report, command_states
from services.devices.store import assignments, enrolments, progress, telemetry
from services.devices.store.progress import Progress
from services.devices.store.tables import ACKS, COMMANDS, DEVICES

log = structlog.get_logger()

_COLUMNS = (
    ACKS.c.id, ACKS.c.device_id, ACKS.c.ref, ACKS.c.state, ACKS.c.note, ACKS.c.observed_at, ACKS.c.received_at,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kept:
    """What was new; of these the reports about commands of an older epoch; and the commands that moved."""

    acks: list[Ack]
    stale: int
    moved: list[Progress]


async def add(connection: AsyncConnection, device_id: int, reports: Sequence[Report]) -> list[Ack]:
    """Keep what is new, and return it."""
    return (await keep(connection, device_id, reports)).acks


async def keep(connection: AsyncConnection, device_id: int, reports: Sequence[Report]) -> Kept:
    """Keep what is new; a new device becomes active, and its commands learn what became of them."""
    rows = [
        {
            "device_id": device_id,
            "ref": report.ref,
            "state": ack_as_the_monolith_knows(report.state),
            "note": report.note,
            "observed_at": report.observed_at,
        }
        for report in reports
    ]
    statement = insert(ACKS).values(rows).on_conflict_do_nothing().returning(*_COLUMNS)
    kept = [Ack(*row) for row in await connection.execute(statement)]
    if not kept:
        return Kept([], 0, [])
    await _activate(connection, device_id)
    await _log(connection, kept)
    states = command_states((ack.ref, ack.state) for ack in kept)
    for state in sorted(set(states.values())):
        await _settle(connection, device_id, [ref for ref in states if states[ref] == state], state)
    new = {(ack.ref, ack.state) for ack in kept}
    told = [
        progress.Told(report.ref, cast("State", report.state), report.observed_at, report.note)
        for report in reports
        if (report.ref, ack_as_the_monolith_knows(report.state)) in new
    ]
    moved, stale = await progress.tell(connection, device_id, told, await assignments.epoch(connection, device_id))
    if succeeded := [p.ref for p in moved if p.issuer == "pulse" and p.state == "succeeded"]:
        await enrolments.pulsed(connection, device_id, succeeded)
    return Kept(kept, sum(ack.ref in stale for ack in kept), moved)


async def _log(connection: AsyncConnection, kept: Sequence[Ack]) -> None:
    """A day without a partition costs its log, never an acknowledgement."""
    try:
        async with connection.begin_nested():
            await telemetry.log(connection, kept)
    except IntegrityError as error:
        log.warning("not in the execution log", error=str(error.orig).splitlines()[0])


async def get(connection: AsyncConnection, device_id: int, ref: str, state: str) -> Ack | None:
    statement = sa.select(*_COLUMNS).where(ACKS.c.device_id == device_id, ACKS.c.ref == ref, ACKS.c.state == state)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Ack(*row)


async def page(connection: AsyncConnection, device_id: int, after: int, limit: int) -> list[Ack]:
    statement = sa.select(*_COLUMNS).where(ACKS.c.device_id == device_id, ACKS.c.id > after)
    return [Ack(*row) for row in await connection.execute(statement.order_by(ACKS.c.id).limit(limit))]


async def _activate(connection: AsyncConnection, device_id: int) -> None:
    new = sa.and_(DEVICES.c.id == device_id, DEVICES.c.state == "new")
    await connection.execute(sa.update(DEVICES).where(new).values(state="active"))


async def _settle(connection: AsyncConnection, device_id: int, refs: list[str], state: str) -> None:
    open_ = COMMANDS.c.state.not_in(["expired", state])
    mine = sa.and_(COMMANDS.c.device_id == device_id, COMMANDS.c.ref.in_(refs), open_)
    await connection.execute(sa.update(COMMANDS).where(mine).values(state=state))
