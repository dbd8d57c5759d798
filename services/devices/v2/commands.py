"""`/v2/commands`: orders to a battery, answered 202 and followed by their correlation id (docs/fleet.md)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, WebSocket, delete, get, post, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis import cursors
from services.chassis.application import Read, Work
from services.chassis.auth import Authenticator, only
from services.chassis.errors import Problem
from services.chassis.fields import LONGEST_PAGE, PAGE, Id
from services.devices.domain import commands as states
from services.devices.domain.devices import Device
from services.devices.fleet.watching import LOOK_EVERY, Watching, encode, words
from services.devices.store import devices, orders, progress
from services.devices.store.orders import Order
from services.devices.store.progress import Progress
from services.devices.v2 import command_schemas as schemas

Cursor = Annotated[str | None, Parameter(max_length=200)]
Wanted = Annotated[states.State | None, Parameter(query="state")]
Limit = Annotated[int, Parameter(ge=1, le=LONGEST_PAGE)]


class CommandsV2(Controller):
    path = "/v2"
    tags = ["commands"]
    guards = [only("backoffice")]

    @post("/devices/{device_id:int}/commands", status_code=202, summary="An order that goes before the schedule")
    async def issue(
        self, work: Work, state: State, device_id: int, data: schemas.NewCommand
    ) -> Response[schemas.Accepted]:
        """It supersedes the device's open commands. 200: this key had its command before."""
        async with work() as connection:
            device = await _found(connection, device_id)
            _check_power(device, data)
            await orders.lock(connection, device_id)
            key = data.idempotency_key
            if key is not None and (before := await progress.with_key(connection, device_id, key)) is not None:
                return _accepted(before, 200)
            order = Order(data.mode, data.power_w, timedelta(seconds=data.duration_s), idempotency_key=key)
            made, replaced = await orders.issue(connection, device_id, order, datetime.now(UTC))
        await _tell(state, replaced)
        return _accepted(made, 202)

    @get("/commands/{correlation_id:uuid}", summary="How far it is")
    async def get_command(self, read: Read, correlation_id: UUID) -> schemas.Command:
        async with read() as connection:
            return _shown(_there(await progress.get(connection, correlation_id), correlation_id))

    @delete("/commands/{correlation_id:uuid}", status_code=202, summary="Take it back")
    async def cancel(self, work: Work, state: State, correlation_id: UUID) -> schemas.Command:
        """One that has ended stays as it is."""
        async with work() as connection:
            found = _there(await progress.get(connection, correlation_id), correlation_id)
            await orders.lock(connection, found.device_id)
            moved = await orders.withdraw(connection, found.ref, "cancelled")
            present = _there(await progress.get(connection, correlation_id), correlation_id)
        await _tell(state, moved)
        return _shown(present)

    @get("/devices/{device_id:int}/commands", summary="A device's commands, newest first")
    async def list_commands(
        self,
        read: Read,
        device_id: int,
        wanted: Wanted = None,
        cursor: Cursor = None,
        limit: Limit = PAGE,
    ) -> schemas.Commands:
        before = None if cursor is None else cursors.decode(cursor, tuple[datetime, str])
        async with read() as connection:
            await _found(connection, device_id)
            page = await progress.page(connection, device_id, wanted, before, limit + 1)
        last = page[limit - 1] if len(page) > limit else None
        return schemas.Commands(
            [_shown(each) for each in page[:limit]],
            None if last is None else cursors.encode((last.issued_at, last.ref)),
        )

    @get("/dead-letters", summary="Commands that failed, were refused, came too late or were never answered")
    async def list_dead(
        self,
        read: Read,
        device_id: Id | None = None,
        wanted: Wanted = None,
        cursor: Cursor = None,
        limit: Limit = PAGE,
    ) -> schemas.Commands:
        if wanted is not None and wanted not in states.DEAD:
            raise Problem(422, f"state is one of {', '.join(states.DEAD)}")
        before = None if cursor is None else cursors.decode(cursor, tuple[datetime, str])
        async with read() as connection:
            page = await progress.dead(connection, device_id, wanted, before, limit + 1)
        last = page[limit - 1] if len(page) > limit else None
        return schemas.Commands(
            [_shown(each) for each in page[:limit]],
            None if last is None else cursors.encode((last.settled_at, last.ref)),
        )

    @post("/dead-letters/{correlation_id:uuid}/replay", status_code=202, summary="The same order once more")
    async def replay(
        self, work: Work, state: State, correlation_id: UUID, data: schemas.Replay
    ) -> Response[schemas.Accepted]:
        """As a new command; replaying twice gives the first one's answer while that is open."""
        async with work() as connection:
            dead = _there(await progress.get(connection, correlation_id), correlation_id)
            if dead.state not in states.DEAD:
                raise Problem(409, f"it is {dead.state}: only what is dead is replayed")
            await orders.lock(connection, dead.device_id)
            if (open_ := await progress.open_replay(connection, correlation_id)) is not None:
                return _accepted(open_, 200)
            duration = timedelta(seconds=data.duration_s) if data.duration_s else dead.expires_at - dead.issued_at
            order = Order(dead.mode, dead.power_w, duration, replay_of=correlation_id)
            made, replaced = await orders.issue(connection, dead.device_id, order, datetime.now(UTC))
        await _tell(state, replaced)
        return _accepted(made, 202)


@websocket("/v2/commands/{correlation_id:uuid}/progress")
async def command_progress(socket: WebSocket[Any, Any, Any], correlation_id: UUID) -> None:
    """Each state of a command as it comes to it, from the beginning; closed after the last."""
    state, authenticator = socket.app.state, socket.app.state.authenticator
    watching: Watching = state.watching
    await socket.accept()
    if not await _is_back_office(authenticator, socket):
        await socket.close(4401, "the back office only")
        return
    if watching.is_full:
        await socket.close(1013, "too many watch")
        return
    gone = asyncio.create_task(_gone(socket), name="watcher")
    try:
        async with watching.watch(correlation_id) as moved:
            code, reason = await _follow(socket, correlation_id, moved, gone)
    except WebSocketDisconnect:
        return
    finally:
        gone.cancel()
        await asyncio.wait({gone})
    if code:
        await socket.close(code, reason)


async def _follow(
    socket: WebSocket[Any, Any, Any], id_: UUID, moved: asyncio.Event, gone: asyncio.Task[None]
) -> tuple[int, str]:
    """How to close; 0 when the watcher has left."""
    said = 0
    while not gone.done():
        moved.clear()
        async with socket.app.state.engine.connect() as connection:
            found = await progress.get(connection, id_)
        if found is None:
            return 4404, "there is no such command"
        for word in words(found)[said:]:
            await socket.send_text(encode(word))
            said += 1
        if found.state in states.FINAL:
            return 1000, found.state
        woken = asyncio.create_task(moved.wait())
        await asyncio.wait({woken, gone}, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
    return 0, ""


async def _gone(socket: WebSocket[Any, Any, Any]) -> None:
    """Ends when the watcher leaves; what it says is of no interest."""
    while True:
        try:
            await socket.receive_text()
        except (WebSocketDisconnect, RuntimeError):
            return


async def _is_back_office(authenticator: Authenticator, socket: WebSocket[Any, Any, Any]) -> bool:
    try:
        return (await authenticator.identify(socket)).is_back_office
    except Problem:
        return False


async def _found(connection: AsyncConnection, device_id: int) -> Device:
    device = await devices.get(connection, device_id)
    if device is None:
        raise Problem(404, f"there is no device {device_id}")
    if device.state == "retired":
        raise Problem(409, f"device {device_id} is retired")
    return device


def _check_power(device: Device, data: schemas.NewCommand) -> None:
    if data.mode == "hold" and data.power_w != 0:
        raise Problem(422, "hold has a power of 0 W")
    if data.mode != "hold" and not 0 < data.power_w <= device.max_power_w:
        raise Problem(422, f"power_w must be 1 to {device.max_power_w}")


def _there(found: Progress | None, correlation_id: UUID) -> Progress:
    if found is None:
        raise Problem(404, f"there is no command {correlation_id}")
    return found


async def _tell(state: State, moved: list[Progress]) -> None:
    watching: Watching = state.watching
    await watching.tell(moved)


def _accepted(command: Progress, status: int) -> Response[schemas.Accepted]:
    body = schemas.Accepted(
        command.correlation_id, command.ref, command.device_id, command.state, command.epoch, command.expires_at
    )
    return Response(body, status_code=status, headers={"Location": f"/v2/commands/{command.correlation_id}"})


def _shown(command: Progress) -> schemas.Command:
    last = command.state
    return schemas.Command(
        command.correlation_id,
        command.ref,
        command.device_id,
        command.issuer,  # type: ignore[arg-type]
        command.state,
        command.epoch,
        command.mode,  # type: ignore[arg-type]
        command.power_w,
        command.issued_at,
        command.expires_at,
        command.supersedes,
        command.replay_of,
        command.note,
        [
            schemas.Step(word.state, word.at, command.observed_at if word.state == last else None, word.note)  # type: ignore[arg-type]
            for word in words(command)
        ],
    )
