"""What became of commands. The steps are `domain.commands`'; here they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.commands import DEAD, FINAL, GRACE_S, OPEN, State, advance
from services.devices.store.fleet_tables import COMMAND_PROGRESS

_P = COMMAND_PROGRESS.c


@dataclass(frozen=True, slots=True)
class Progress:
    """A command and how far it is. `issuer` api, market or pulse; times are None until it came so far."""

    ref: str
    device_id: int
    correlation_id: UUID
    issuer: str
    epoch: int
    state: State
    note: str
    mode: str
    power_w: int
    supersedes: str | None
    replay_of: UUID | None
    issued_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    settled_at: datetime | None = None
    observed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A device's word about a command."""

    ref: str
    state: State
    observed_at: datetime
    note: str = ""


_COLUMNS = (
    _P.ref, _P.device_id, _P.correlation_id, _P.issuer, _P.epoch, _P.state, _P.note, _P.mode, _P.power_w, _P.supersedes,
    _P.replay_of, _P.issued_at, _P.expires_at, _P.sent_at, _P.delivered_at, _P.settled_at, _P.observed_at,
)  # fmt: skip

_STEP = sa.text("""
    UPDATE command_progress AS p
       SET state = i.state, note = i.note, observed_at = i.observed_at,
           sent_at = coalesce(p.sent_at, now()),
           delivered_at = coalesce(p.delivered_at, now()),
           settled_at = CASE WHEN i.final THEN now() END
      FROM unnest(CAST(:refs AS text[]), CAST(:states AS text[]), CAST(:notes AS text[]),
                  CAST(:observed AS timestamptz[]), CAST(:finals AS boolean[]))
           AS i (ref, state, note, observed_at, final)
     WHERE p.ref = i.ref
""")
_SENT = sa.text("""
    UPDATE command_progress SET state = 'sent', sent_at = now()
     WHERE ref = ANY (CAST(:refs AS text[])) AND state = 'queued'
    RETURNING ref
""")
# A hundredth of a fleet at a time, and by one process: the others find the rows locked and leave them.
_OVERDUE = sa.text("""
    UPDATE command_progress AS p
       SET state = CASE WHEN p.state = 'queued' THEN 'expired' ELSE 'timed_out' END, settled_at = now()
     WHERE p.ref IN (
        SELECT ref FROM command_progress
         WHERE state IN ('queued', 'sent', 'delivered')
           AND expires_at <= CAST(:now AS timestamptz) - CASE WHEN state = 'queued' THEN interval '0' ELSE :grace END
         ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING p.ref
""")


async def add(connection: AsyncConnection, **values: Any) -> Progress:
    statement = sa.insert(COMMAND_PROGRESS).values(**values).returning(*_COLUMNS)
    return Progress(*(await connection.execute(statement)).one())


async def get(connection: AsyncConnection, correlation_id: UUID, *, lock: bool = False) -> Progress | None:
    statement = sa.select(*_COLUMNS).where(_P.correlation_id == correlation_id)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else Progress(*row)


async def of_refs(connection: AsyncConnection, refs: Sequence[str]) -> list[Progress]:
    return [Progress(*row) for row in await connection.execute(sa.select(*_COLUMNS).where(_P.ref.in_(refs)))]


async def with_key(connection: AsyncConnection, device_id: int, key: str) -> Progress | None:
    statement = sa.select(*_COLUMNS).where(_P.device_id == device_id, _P.idempotency_key == key)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Progress(*row)


async def open_replay(connection: AsyncConnection, correlation_id: UUID) -> Progress | None:
    """The replay of a dead command that is still under way."""
    under_way = sa.and_(_P.replay_of == correlation_id, _P.state.in_(OPEN))
    row = (await connection.execute(sa.select(*_COLUMNS).where(under_way).limit(1))).one_or_none()
    return None if row is None else Progress(*row)


async def tell(
    connection: AsyncConnection, device_id: int, reports: Sequence[Told], epoch: int
) -> tuple[list[Progress], set[str]]:
    """Follow a device's reports, in their order. The commands that moved, and the refs of those of an older epoch.

    A command of an older epoch is not followed: whoever was given the device since decides about it.
    """
    mine = sa.and_(_P.ref.in_({report.ref for report in reports}), _P.device_id == device_id)
    statement = sa.select(*_COLUMNS).where(mine).order_by(_P.ref).with_for_update()
    before = {row.ref: Progress(*row) for row in await connection.execute(statement)}
    stale = {ref for ref, progress in before.items() if progress.epoch < epoch}
    states = {ref: progress.state for ref, progress in before.items() if ref not in stale}
    moved: dict[str, Told] = {}
    for report in reports:
        if (state := states.get(report.ref)) is not None and (after := advance(state, report.state)) != state:
            states[report.ref], moved[report.ref] = after, report
    if not moved:
        return [], stale
    values = {
        "refs": list(moved),
        "states": [told.state for told in moved.values()],
        "notes": [told.note for told in moved.values()],
        "observed": [told.observed_at for told in moved.values()],
        "finals": [told.state in FINAL for told in moved.values()],
    }
    await connection.execute(_STEP, values)
    return await of_refs(connection, list(moved)), stale


async def sent(connection: AsyncConnection, refs: Sequence[str]) -> list[str]:
    """These were given to their devices; those of which it is news."""
    return list((await connection.execute(_SENT, {"refs": list(refs)})).scalars())


async def supersede(connection: AsyncConnection, refs: Sequence[str], note: str) -> list[Progress]:
    open_ = sa.and_(_P.ref.in_(refs), _P.state.in_(OPEN))
    statement = sa.update(COMMAND_PROGRESS).where(open_)
    statement = statement.values(state="superseded", note=note, settled_at=sa.func.now()).returning(*_COLUMNS)
    return [Progress(*row) for row in await connection.execute(statement)]


async def sweep(connection: AsyncConnection, now: datetime, most: int = 1000) -> list[str]:
    """End what time has ended; which."""
    values = {"now": now, "grace": timedelta(seconds=GRACE_S), "most": most}
    return list((await connection.execute(_OVERDUE, values)).scalars())


async def page(
    connection: AsyncConnection, device_id: int, state: str | None, before: tuple[datetime, str] | None, limit: int
) -> list[Progress]:
    """A device's commands, newest first."""
    statement = sa.select(*_COLUMNS).where(_P.device_id == device_id)
    if state is not None:
        statement = statement.where(_P.state == state)
    if before is not None:
        statement = statement.where(sa.tuple_(_P.issued_at, _P.ref) < sa.tuple_(*map(sa.literal, before)))
    statement = statement.order_by(_P.issued_at.desc(), _P.ref.desc()).limit(limit)
    return [Progress(*row) for row in await connection.execute(statement)]


async def dead(
    connection: AsyncConnection,
    device_id: int | None,
    state: str | None,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Progress]:
    """What failed, newest first."""
    statement = sa.select(*_COLUMNS).where(_P.state.in_(DEAD if state is None else [state]))
    if device_id is not None:
        statement = statement.where(_P.device_id == device_id)
    if before is not None:
        statement = statement.where(sa.tuple_(_P.settled_at, _P.ref) < sa.tuple_(*map(sa.literal, before)))
    statement = statement.order_by(_P.settled_at.desc(), _P.ref.desc()).limit(limit)
    return [Progress(*row) for row in await connection.execute(statement)]
