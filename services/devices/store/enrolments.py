"""Claims and enrolments: how a battery's agent comes by its token, and from when it is commanded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.claims import MOST_WRONG_TRIES
from services.devices.store.fleet_tables import CLAIMS, ENROLMENTS
from services.devices.store.tables import DEVICES

_C, _E = CLAIMS.c, ENROLMENTS.c


@dataclass(frozen=True, slots=True)
class Claim:
    """`used_at` None: open. `key_sha256`: of the Idempotency-Key that it was used with."""

    id: int
    device_id: int
    serial: str
    used_at: datetime | None
    key_sha256: str | None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """`state` claimed, live or revoked."""

    device_id: int
    state: str
    pulse_ref: str | None = None
    claimed_at: datetime | None = None
    live_at: datetime | None = None
    revoked_at: datetime | None = None


async def add_claim(
    connection: AsyncConnection, device_id: int, code_sha256: str, expires_in: timedelta
) -> tuple[int, datetime]:
    """The claim's id and end; older ones of the device are void from now on."""
    await void_claims(connection, device_id)
    statement = sa.insert(CLAIMS).values(
        device_id=device_id, code_sha256=code_sha256, expires_at=sa.func.now() + expires_in
    )
    row = (await connection.execute(statement.returning(_C.id, _C.expires_at))).one()
    return row.id, row.expires_at


async def void_claims(connection: AsyncConnection, device_id: int) -> None:
    await connection.execute(sa.delete(CLAIMS).where(_C.device_id == device_id))


async def claim_of(connection: AsyncConnection, code_sha256: str, serial: str) -> Claim | None:
    """The claim of this code and serial while it is good, locked; a code that was used is found as well."""
    statement = (
        sa.select(_C.id, _C.device_id, DEVICES.c.serial, _C.used_at, _C.key_sha256)
        .join(DEVICES, DEVICES.c.id == _C.device_id)
        .where(
            _C.code_sha256 == code_sha256,
            DEVICES.c.serial == serial,
            DEVICES.c.state != "retired",
            _C.expires_at > sa.func.now(),
            _C.wrong_tries < MOST_WRONG_TRIES,
        )
        .with_for_update(of=CLAIMS)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Claim(*row)


async def count_wrong_try(connection: AsyncConnection, serial: str) -> None:
    """Somebody does not know the code of this serial."""
    device = sa.select(DEVICES.c.id).where(DEVICES.c.serial == serial).scalar_subquery()
    statement = sa.update(CLAIMS).where(_C.device_id == device, _C.used_at.is_(None))
    await connection.execute(statement.values(wrong_tries=_C.wrong_tries + 1))


async def use(connection: AsyncConnection, claim: Claim, key_sha256: str | None) -> None:
    statement = sa.update(CLAIMS).where(_C.id == claim.id)
    await connection.execute(statement.values(used_at=sa.func.now(), key_sha256=key_sha256))


async def get(connection: AsyncConnection, device_id: int) -> Enrolment | None:
    """None for a device that never was enrolled here: it is live."""
    columns = (_E.device_id, _E.state, _E.pulse_ref, _E.claimed_at, _E.live_at, _E.revoked_at)
    row = (await connection.execute(sa.select(*columns).where(_E.device_id == device_id))).one_or_none()
    return None if row is None else Enrolment(*row)


async def claimed(connection: AsyncConnection, device_id: int, pulse_ref: str) -> None:
    """Waits for its test pulse, from now on."""
    values = {
        "state": "claimed", "pulse_ref": pulse_ref, "claimed_at": sa.func.now(), "live_at": None, "revoked_at": None,
    }  # fmt: skip
    statement = insert(ENROLMENTS).values(device_id=device_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["device_id"], set_=values))


async def revoked(connection: AsyncConnection, device_id: int) -> None:
    values = {"state": "revoked", "pulse_ref": None, "revoked_at": sa.func.now()}
    statement = insert(ENROLMENTS).values(device_id=device_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["device_id"], set_=values))


async def pulsed(connection: AsyncConnection, device_id: int, refs: list[str]) -> None:
    """These commands succeeded: if one is the pulse that was waited for, the device is live."""
    mine = sa.and_(_E.device_id == device_id, _E.state == "claimed", _E.pulse_ref.in_(refs))
    await connection.execute(sa.update(ENROLMENTS).where(mine).values(state="live", live_at=sa.func.now()))
