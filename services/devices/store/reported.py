"""What a device last said of itself, and the fleet as a whole: what it should do, what it does, whether it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.store.fleet_tables import ENROLMENTS, PRESENCE, REPORTED
from services.devices.store.tables import BATTERY_STATES, DEVICES, SCHEDULES

_R, _D, _P, _E, _B, _S = REPORTED.c, DEVICES.c, PRESENCE.c, ENROLMENTS.c, BATTERY_STATES.c, SCHEDULES.c

#: A clock that is further off is not to be gone by. Milliseconds.
SKEWED_MS = 2000


@dataclass(frozen=True, slots=True)
class Reported:
    """`version` grows with each report that is kept. `clock_skew_ms`: the service's clock minus the device's."""

    version: int
    observed_at: datetime
    received_at: datetime
    schedule_version: int
    fallback_version: int
    mode: str
    power_w: int
    soc: float | None
    following: str
    backend: str
    agent_version: str
    note: str
    clock_skew_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    device_id: int
    serial: str
    customer_id: int
    model: str
    capacity_wh: int
    max_power_w: int
    state: str
    enrolment: str
    online: bool | None
    last_seen_at: datetime | None
    soc: float | None
    mode: str | None
    power_w: int | None
    following: str | None
    schedule_version: int
    applied_version: int | None
    agent_version: str | None
    clock_skew_ms: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which members: those of which all of this is so; None asks nothing."""

    online: bool | None = None
    state: str | None = None
    customer_id: int | None = None
    model: str | None = None
    serial: str | None = None
    soc_below: float | None = None
    soc_above: float | None = None
    following: str | None = None
    clock_skewed: bool | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        there = sa.func.coalesce(_P.online, sa.false())
        skewed = sa.func.coalesce(sa.func.abs(_R.clock_skew_ms) > SKEWED_MS, sa.false())
        asked: list[tuple[Any, Callable[[Any], sa.ColumnElement[bool]]]] = [
            (self.online, lambda value: there == value),
            (self.state, lambda value: _D.state == value),
            (self.customer_id, lambda value: _D.customer_id == value),
            (self.model, lambda value: _D.model == value),
            (self.serial, lambda value: _D.serial == value),
            (self.soc_below, lambda value: _B.soc < value),
            (self.soc_above, lambda value: _B.soc > value),
            (self.following, lambda value: _R.following == value),
            (self.clock_skewed, lambda value: skewed == value),
        ]
        return [condition(value) for value, condition in asked if value is not None]


_COLUMNS = (
    _R.version, _R.observed_at, _R.received_at, _R.schedule_version, _R.fallback_version, _R.mode, _R.power_w, _R.soc,
    _R.following, _R.backend, _R.agent_version, _R.note, _R.clock_skew_ms,
)  # fmt: skip
_ALL = (
    DEVICES.outerjoin(ENROLMENTS, _E.device_id == _D.id)
    .outerjoin(PRESENCE, _P.device_id == _D.id)
    .outerjoin(REPORTED, _R.device_id == _D.id)
    .outerjoin(BATTERY_STATES, _B.device_id == _D.id)
    .outerjoin(SCHEDULES, _S.device_id == _D.id)
)
_ENROLMENT = sa.func.coalesce(_E.state, "live")
_VERSION = sa.func.coalesce(_S.version, 0)
_MEMBER = (
    _D.id, _D.serial, _D.customer_id, _D.model, _D.capacity_wh, _D.max_power_w, _D.state, _ENROLMENT, _P.online,
    _P.last_seen_at, _B.soc, _R.mode, _R.power_w, _R.following, _VERSION, _R.schedule_version, _R.agent_version,
    _R.clock_skew_ms,
)  # fmt: skip


async def keep(connection: AsyncConnection, device_id: int, values: dict[str, Any]) -> bool:
    """False, and nothing done, when a newer report is there."""
    statement = insert(REPORTED).values(device_id=device_id, version=1, **values)
    statement = statement.on_conflict_do_update(
        index_elements=["device_id"],
        set_={"version": _R.version + 1, "received_at": sa.func.now(), **values},
        where=_R.observed_at < statement.excluded.observed_at,
    )
    return (await connection.execute(statement.returning(_R.device_id))).one_or_none() is not None


async def get(connection: AsyncConnection, device_id: int) -> Reported | None:
    row = (await connection.execute(sa.select(*_COLUMNS).where(_R.device_id == device_id))).one_or_none()
    return None if row is None else Reported(*row)


async def page(connection: AsyncConnection, wanted: Wanted, after: int, limit: int) -> list[Member]:
    """Members in the order of their ids."""
    statement = sa.select(*_MEMBER).select_from(_ALL).where(_D.id > after, *wanted.conditions())
    return [Member(*row) for row in await connection.execute(statement.order_by(_D.id).limit(limit))]


async def counts(connection: AsyncConnection) -> dict[str, Any]:
    """How many devices there are of each kind."""
    count = sa.func.count()
    behind = _R.schedule_version < _VERSION
    totals = sa.select(
        count.label("devices"),
        count.filter(_P.online).label("online"),
        count.filter(sa.not_(_P.online)).label("offline"),
        count.filter(_P.device_id.is_(None)).label("never_seen"),
        count.filter(behind).label("behind_schedule"),
        count.filter(sa.func.abs(_R.clock_skew_ms) > SKEWED_MS).label("clock_skewed"),
    ).select_from(_ALL)
    found: dict[str, Any] = dict((await connection.execute(totals)).one()._mapping)
    for name, column in (("by_state", _D.state), ("by_model", _D.model), ("by_following", _R.following)):
        each = sa.select(column, count).select_from(_ALL).where(column.is_not(None)).group_by(column)
        most = each.order_by(count.desc()).limit(100)
        found[name] = {row[0]: row[1] for row in await connection.execute(most)}
    return found
