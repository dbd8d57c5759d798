"""`/v2/devices/{id}`: what a device asks and reports, with its token as bearer (docs/fleet.md)."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, get, post, put
from litestar.datastructures import State
from litestar.params import Parameter

from services.chassis.application import Read, Work
from services.chassis.auth import Caller, only
from services.chassis.errors import Problem
from services.devices.domain.devices import Report
from services.devices.domain.documents import tags
from services.devices.fleet.given import Given
from services.devices.fleet.watching import Watching
from services.devices.store import acks, assignments, devices, documents
from services.devices.v2 import publishing, schemas, showing

# The monolith's timestamps end there.
_LATEST_YEAR = 9000

Epoch = Annotated[int | None, Parameter(header=showing.EPOCH, ge=0)]


def behind(present: int) -> Problem:
    """The device was told of a newer assignment than we know: whoever gave it commands the device, we do not."""
    return Problem(
        409,
        f"this service knows the assignment only up to epoch {present}",
        type_="urn:banyan:stale-assignment",
        extra={"epoch": present},
        headers={showing.EPOCH: str(present)},
    )


class DevicesV2(Controller):
    path = "/v2/devices/{device_id:int}"
    tags = ["devices"]

    @get("/schedule", guards=[only("backoffice", "device")], summary="Schedule, fallback and open commands")
    async def get_schedule(
        self,
        caller: Caller,
        read: Read,
        state: State,
        device_id: int,
        known: Annotated[str | None, Parameter(header="If-None-Match")] = None,
        epoch: Epoch = None,
    ) -> Response[schemas.Schedule | None]:
        """The ETag covers all of it. With `Prefer: wait=N` the answer may wait for a change: `fleet.longpoll`."""
        caller.require_device(device_id)
        async with read() as connection:
            if caller.is_back_office and await devices.get(connection, device_id) is None:
                raise Problem(404, f"there is no device {device_id}")
            document = await documents.get(connection, device_id)
        if epoch is not None and epoch > document.epoch:
            raise behind(document.epoch)
        headers = showing.headers(document)
        is_news = epoch is not None and epoch < document.epoch
        if not is_news and known is not None and document.etag in tags(known):
            return Response(None, status_code=304, headers=headers)
        if not caller.is_back_office:
            given: Given = state.given
            given.add(document.unsent)
        body: Any = showing.encoded(document)
        return Response(body, media_type="application/json", headers=headers)

    @put("/schedule", guards=[only("backoffice")], summary="A new schedule, and a new fallback if there is one")
    async def put_schedule(
        self,
        work: Work,
        device_id: int,
        data: schemas.NewSchedule,
        expected: Annotated[str | None, Parameter(header="If-Match", max_length=200)] = None,
    ) -> schemas.Published:
        async with work() as connection:
            return await publishing.publish(connection, device_id, data, expected)

    @post("/acks", guards=[only("device")], status_code=200, summary="Report; what was reported before is a duplicate")
    async def add_acks(
        self,
        caller: Caller,
        work: Work,
        state: State,
        device_id: int,
        data: schemas.AckBatch,
        epoch: Epoch = None,
    ) -> Response[schemas.Received]:
        caller.require_device(device_id)
        if any(not 1900 <= ack.observed_at.year <= _LATEST_YEAR for ack in data.acks):
            raise Problem(422, f"observed_at must be in the years 1900 to {_LATEST_YEAR}")
        reports = [Report(ack.ref, ack.state, ack.observed_at, ack.note) for ack in data.acks]
        async with work() as connection:
            present = await assignments.epoch(connection, device_id)
            if epoch is not None and epoch > present:
                raise behind(present)
            kept = await acks.keep(connection, device_id, reports)
        watching: Watching = state.watching
        await watching.tell(kept.moved)
        received = schemas.Received(len(kept.acks), len(reports) - len(kept.acks), kept.stale)
        headers: dict[str, Any] = {showing.EPOCH: str(present)}
        return Response(received, headers=headers)
