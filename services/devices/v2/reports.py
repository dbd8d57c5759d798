"""What a device says of itself: its state, what it measured; and what it should be against what it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from litestar import Controller, get, post, put
from litestar.datastructures import State
from litestar.params import Parameter

from services.chassis import cursors
from services.chassis.application import Read, Work
from services.chassis.auth import Caller, only
from services.chassis.errors import Problem
from services.chassis.fields import LONGEST_PAGE, PAGE
from services.devices.domain.twin import delta
from services.devices.store import devices, documents, fleet, presence, reported, telemetry, updates
from services.devices.v2 import fleet_schemas as schemas
from services.devices.v2.market import CLOCK_AHEAD

Cursor = Annotated[str | None, Parameter(max_length=200)]
Limit = Annotated[int, Parameter(ge=1, le=LONGEST_PAGE)]
From = Annotated[datetime, Parameter(query="from")]
To = Annotated[datetime, Parameter(query="to")]

_LONGEST = timedelta(days=31)
#: A report from further away than this is of another clock; its skew is told all the same.
_FURTHEST = timedelta(days=366)


class ReportsV2(Controller):
    path = "/v2/devices/{device_id:int}"
    tags = ["state"]

    @put("/reported", guards=[only("device")], summary="What the device does; the newest report counts")
    async def report(self, caller: Caller, work: Work, device_id: int, data: schemas.NewReport) -> schemas.ReportKept:
        caller.require_device(device_id)
        now = datetime.now(UTC)
        skew = now - data.observed_at
        if abs(skew) > _FURTHEST:
            raise Problem(422, "observed_at is more than a year away")
        skew_ms = round(skew.total_seconds() * 1000)
        values: dict[str, Any] = {
            name: getattr(data, name)
            for name in (
                "observed_at", "schedule_version", "fallback_version", "mode", "power_w", "soc", "following", "backend",
                "agent_version", "note",
            )
        }  # fmt: skip
        async with work() as connection:
            kept = await reported.keep(connection, device_id, {**values, "clock_skew_ms": skew_ms})
            if kept and data.soc is not None and data.observed_at <= now + CLOCK_AHEAD:
                await fleet.report(connection, device_id, data.soc, data.observed_at)
        return schemas.ReportKept(kept, skew_ms)

    @get(
        "/state", guards=[only("backoffice", "device")], summary="What it should be, what it says, whether it is there"
    )
    async def get_state(self, caller: Caller, read: Read, device_id: int) -> schemas.Twin:
        caller.require_device(device_id)
        async with read() as connection:
            await _known(connection, device_id)
            document = await documents.get(connection, device_id)
            said = await reported.get(connection, device_id)
            there = await presence.get(connection, device_id)
            newest = await updates.for_device(connection, device_id)
        desired = schemas.Desired(
            document.version, document.fallback_version, None if newest is None else newest.version
        )
        return schemas.Twin(
            device_id,
            0 if said is None else said.version,
            document.epoch,
            desired,
            None if said is None else _shown(said),
            delta(desired, said),
            None
            if there is None
            else schemas.Connection(
                there.online, there.since, there.last_seen_at, there.via, None if said is None else said.clock_skew_ms
            ),
        )

    @post("/telemetry", guards=[only("device")], status_code=202, summary="What was measured; many at once")
    async def add_telemetry(
        self, caller: Caller, work: Work, state: State, device_id: int, data: schemas.Samples
    ) -> schemas.SamplesKept:
        """Of a moment there is one sample. Those that are older than what is kept are counted, and left."""
        caller.require_device(device_id)
        now = datetime.now(UTC)
        if any(sample.observed_at > now + CLOCK_AHEAD for sample in data.samples):
            raise Problem(422, "observed_at is in the future")
        oldest = now - timedelta(days=state.presence.telemetry_days - 1)
        kept = [
            telemetry.Sample(sample.observed_at, sample.power_w, sample.soc, sample.mode)
            for sample in data.samples
            if sample.observed_at >= oldest
        ]
        async with work() as connection:
            new = await telemetry.add(connection, device_id, kept) if kept else 0
            full = [sample for sample in kept if sample.soc is not None]
            if full:
                last = max(full, key=lambda sample: sample.observed_at)
                await fleet.report(connection, device_id, last.soc or 0.0, last.observed_at)
        return schemas.SamplesKept(new, len(kept) - new, len(data.samples) - len(kept))

    @get("/telemetry", guards=[only("backoffice")], summary="What was measured")
    async def get_telemetry(self, read: Read, device_id: int, since: From, until: To) -> schemas.Measured:
        _check(since, until)
        async with read() as connection:
            await _known(connection, device_id)
            found = await telemetry.of(connection, device_id, since, until, 50_000)
        return schemas.Measured(
            [schemas.Sample(s.observed_at, s.power_w, s.soc, s.mode) for s in found]  # type: ignore[arg-type]
        )

    @get("/log", guards=[only("backoffice")], summary="What became of what it was told, newest first")
    async def get_log(
        self,
        read: Read,
        device_id: int,
        since: From,
        until: To,
        cursor: Cursor = None,
        limit: Limit = PAGE,
    ) -> schemas.Log:
        _check(since, until)
        before = None if cursor is None else cursors.decode(cursor, tuple[datetime, str, str])
        async with read() as connection:
            await _known(connection, device_id)
            page = await telemetry.logged(connection, device_id, since, until, before, limit + 1)
        last = page[limit - 1] if len(page) > limit else None
        return schemas.Log(
            [schemas.LogEntry(e.received_at, e.observed_at, e.ref, e.state, e.note) for e in page[:limit]],
            None if last is None else cursors.encode((last.received_at, last.ref, last.state)),
        )

    @get("/connections", guards=[only("backoffice")], summary="When it came and went, newest first")
    async def list_connections(
        self, read: Read, device_id: int, cursor: Cursor = None, limit: Limit = PAGE
    ) -> schemas.Connections:
        before = None if cursor is None else cursors.decode(cursor, int)
        async with read() as connection:
            await _known(connection, device_id)
            page = await presence.history(connection, device_id, before, limit + 1)
        return schemas.Connections(
            [schemas.ComingOrGoing(each.at, each.online, each.reason) for each in page[:limit]],
            cursors.encode(page[limit - 1].id) if len(page) > limit else None,
        )


async def _known(connection: Any, device_id: int) -> None:
    if await devices.get(connection, device_id) is None:
        raise Problem(404, f"there is no device {device_id}")


def _check(since: datetime, until: datetime) -> None:
    if since.tzinfo is None or until.tzinfo is None:
        raise Problem(400, "from and to have an offset")
    if not timedelta(0) < until - since <= _LONGEST:
        raise Problem(422, f"to is at most {_LONGEST.days} days after from")


def _shown(said: reported.Reported) -> schemas.Report:
    return schemas.Report(
        said.observed_at,
        said.received_at,
        said.schedule_version,
        said.fallback_version,
        said.mode,  # type: ignore[arg-type]
        said.power_w,
        said.soc,
        said.following,  # type: ignore[arg-type]
        said.backend,
        said.agent_version,
        said.note,
    )
