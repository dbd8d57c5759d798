"""Publishing a schedule: it is checked, kept as a version, and told to who waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import sqlalchemy as sa
from litestar import Controller, get, put
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import cursors
from services.chassis.application import Read, Work
from services.chassis.auth import only
from services.chassis.errors import Problem
from services.chassis.fields import LONGEST_PAGE, PAGE
from services.chassis.localtime import to_local
from services.devices.domain import conflicts
from services.devices.domain.conflicts import Conflict, Wanted
from services.devices.domain.devices import Device, Slot
from services.devices.domain.documents import tags
from services.devices.store import devices, documents, orders, schedules
from services.devices.store.slots import to_json
from services.devices.store.tables import DEVICES
from services.devices.v2 import schemas


class PublishingV2(Controller):
    path = "/v2"
    tags = ["schedules"]
    guards = [only("backoffice")]

    @put("/schedules", summary="One schedule for many devices: all of them or none")
    async def put_schedules(self, work: Work, data: schemas.NewSchedules) -> schemas.PublishedMany:
        ids = sorted(set(data.device_ids))
        async with work() as connection:
            weakest = await _weakest(connection, ids)
            slots, wrong = _read(data.slots, weakest)
            _sorted_out(wrong, data.accept)
            changed = await schedules.put_many(connection, ids, slots)
        return schemas.PublishedMany(changed, len(ids) - changed)

    @get("/devices/{device_id:int}/schedule/versions", summary="What the schedule was, newest first")
    async def list_versions(
        self,
        read: Read,
        device_id: int,
        cursor: Annotated[str | None, Parameter(max_length=100)] = None,
        limit: Annotated[int, Parameter(ge=1, le=LONGEST_PAGE)] = PAGE,
    ) -> schemas.FormerSchedules:
        before = None if cursor is None else cursors.decode(cursor, int)
        async with read() as connection:
            await _found(connection, device_id)
            page = await schedules.versions(connection, device_id, before, limit + 1)
        return schemas.FormerSchedules(
            [
                schemas.FormerSchedule(
                    each.version,
                    msgspec.convert(to_json(each.slots), list[schemas.Slot]),
                    each.updated_at,  # type: ignore[arg-type]
                )
                for each in page[:limit]
            ],
            cursors.encode(page[limit - 1].version) if len(page) > limit else None,
        )


async def publish(
    connection: AsyncConnection, device_id: int, data: schemas.NewSchedule, expected: str | None
) -> schemas.Published:
    """The same slots keep their version. All conflicts are told at once, and then nothing is changed."""
    device = await _found(connection, device_id)
    await orders.lock(connection, device_id)
    if expected is not None:
        present = (await documents.get(connection, device_id)).etag
        if expected != "*" and present not in tags(expected):
            raise Problem(412, f"the document is {present} by now", headers={"ETag": present})
    slots, wrong = _read(data.slots, device)
    fallback, more = ((), []) if data.fallback is None else _read(data.fallback, device, "fallback")
    warnings = _sorted_out([*wrong, *more], data.accept)
    version = (await schedules.put(connection, device_id, slots)).version
    if data.fallback is None:
        fallback_version = await schedules.fallback_version(connection, device_id)
    else:
        fallback_version = await schedules.put_fallback(connection, device_id, fallback, data.fallback_after_s)
    days = conflicts.odd_days(to_local(datetime.now(UTC)).date())
    warnings += [_shown(each, "slots") for each in conflicts.on_odd_days(slots, days)]
    warnings += [_shown(each, "fallback") for each in conflicts.on_odd_days(fallback, days)]
    return schemas.Published(version, fallback_version, warnings)


async def _found(connection: AsyncConnection, device_id: int) -> Device:
    device = await devices.get(connection, device_id)
    if device is None:
        raise Problem(404, f"there is no device {device_id}")
    return device


async def _weakest(connection: AsyncConnection, ids: Sequence[int]) -> Device:
    """A device with the least power and capacity of these. Raises: Problem 422 when one is not there."""
    d = DEVICES.c
    chosen = d.id == sa.func.any(sa.cast(list(ids), sa.ARRAY(sa.BigInteger)))
    least = sa.select(sa.func.count(), sa.func.min(d.capacity_wh), sa.func.min(d.max_power_w)).where(chosen)
    known, capacity, power = (await connection.execute(least)).one()
    if known != len(ids):
        raise Problem(422, f"{len(ids) - known} of these devices are not known")
    return Device(0, "", 0, "", capacity, power, "active", datetime.now(UTC))


def _read(
    wanted: Sequence[schemas.NewSlot], device: Device, of: str = "slots"
) -> tuple[tuple[Slot, ...], list[schemas.Conflict]]:
    asked = [Wanted(slot.since, slot.until, slot.mode, slot.power_w) for slot in wanted]
    slots, wrong = conflicts.read(asked, device.capacity_wh, device.max_power_w)
    return slots, [_shown(each, of) for each in wrong]


def _sorted_out(found: Sequence[schemas.Conflict], accept: Sequence[str]) -> list[schemas.Conflict]:
    """Those that are accepted. Raises: Problem 422 when there are others."""
    if wrong := [each for each in found if each.kind not in accept]:
        raise Problem(
            422,
            f"{wrong[0].of} {wrong[0].slot}: {wrong[0].detail}",
            extra={"conflicts": msgspec.to_builtins(wrong)},
            type_="urn:banyan:schedule-conflicts",
        )
    return list(found)


def _shown(conflict: Conflict, of: str) -> schemas.Conflict:
    return schemas.Conflict(conflict.slot, of, conflict.kind, conflict.detail)  # type: ignore[arg-type]
