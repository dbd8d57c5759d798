"""`/v2/devices/{id}`: what a device asks and reports, with its token as bearer."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.params import Parameter

from services.chassis.application import Read, Work
from services.chassis.auth import Caller, only
from services.chassis.errors import Problem
from services.devices.domain.devices import Command, Report, Schedule
from services.devices.store import acks, devices, schedules
from services.devices.store.slots import clock
from services.devices.v2 import schemas

# The monolith's timestamps end there.
_LATEST_YEAR = 9000


class DevicesV2(Controller):
    path = "/v2/devices/{device_id:int}"
    tags = ["devices"]

    @get("/schedule", guards=[only("backoffice", "device")], summary="The schedule and the open commands")
    async def get_schedule(
        self,
        caller: Caller,
        read: Read,
        device_id: int,
        known: Annotated[str | None, Parameter(header="If-None-Match")] = None,
    ) -> Response[schemas.Schedule | None]:
        """The ETag is the schedule's version. 304 only while no command is open: a command must never be missed."""
        caller.require_device(device_id)
        async with read() as connection:
            if caller.is_back_office and await devices.get(connection, device_id) is None:
                raise Problem(404, f"there is no device {device_id}")
            schedule = await schedules.get(connection, device_id)
            commands = await schedules.open_commands(connection, device_id)
        etag = f'"{schedule.version}"'
        if not commands and known is not None and etag in _etags(known):
            return Response(None, status_code=304, headers={"ETag": etag})
        return Response(_shown(device_id, schedule, commands), headers={"ETag": etag})

    @post("/acks", guards=[only("device")], status_code=200, summary="Report; what was reported before is a duplicate")
    async def add_acks(self, caller: Caller, work: Work, device_id: int, data: schemas.AckBatch) -> schemas.Received:
        caller.require_device(device_id)
        if any(not 1900 <= ack.observed_at.year <= _LATEST_YEAR for ack in data.acks):
            raise Problem(422, f"observed_at must be in the years 1900 to {_LATEST_YEAR}")
        reports = [Report(ack.ref, ack.state, ack.observed_at, ack.note) for ack in data.acks]
        async with work() as connection:
            kept = len(await acks.add(connection, device_id, reports))
        return schemas.Received(accepted=kept, duplicates=len(reports) - kept)


def _etags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _shown(device_id: int, schedule: Schedule, commands: list[Command]) -> schemas.Schedule:
    return schemas.Schedule(
        device_id=device_id,
        version=schedule.version,
        slots=[schemas.Slot(clock(s.since), clock(s.until), s.mode, s.power_w) for s in schedule.slots],  # type: ignore[arg-type]
        commands=[
            schemas.Command(c.ref, c.mode, c.power_w, c.issued_at, c.expires_at)  # type: ignore[arg-type]
            for c in commands
        ],
    )
