"""`/api/devices` and `/get-schedule` as the monolith serves them."""

from __future__ import annotations

import secrets
from typing import Any

from litestar import Controller, Request, Response, get, post, put
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.application import Read, Work
from services.chassis.auth import Caller, token_sha1
from services.chassis.errors import Problem
from services.chassis.facade import body, query
from services.chassis.facade.answers import answer
from services.devices.domain.devices import Device
from services.devices.facade import slots, translate
from services.devices.store import devices, schedules


async def found(connection: AsyncConnection, device_id: int) -> Device:
    device = await devices.get(connection, device_id)
    if device is None:
        raise Problem(404, "device not found")
    return device


class DevicesFacade(Controller):
    path = "/api/devices"
    guards = [query.ids_in_path]
    include_in_schema = False

    @post()
    async def register(self, request: Request[Any, Any, Any], caller: Caller, work: Work) -> Response[bytes]:
        caller.require("backoffice")
        fields = await body.read(request)
        token = secrets.token_urlsafe(24)
        serial = fields.text("serial", 40)
        customer_id = fields.identifier("customer_id")
        model = fields.text("model", 40)
        capacity_wh = fields.integer("capacity_wh", 1, 10_000_000)
        max_power_w = fields.integer("max_power_w", 1, 1_000_000)
        async with work() as connection:
            if not await devices.customer_is_known(connection, customer_id):
                raise Problem(404, "customer not found")
            device = await devices.add(
                connection,
                serial=serial,
                customer_id=customer_id,
                model=model,
                capacity_wh=capacity_wh,
                max_power_w=max_power_w,
                token_sha1=token_sha1(token),
            )
            if device is None:
                raise Problem(409, "serial exists")
        return answer({**translate.device(device), "token": token}, 201)

    @get()
    async def list_devices(self, request: Request[Any, Any, Any], caller: Caller, read: Read) -> Response[bytes]:
        caller.require("backoffice")
        limit, after = query.page(query.arguments(request))
        async with read() as connection:
            page = await devices.page(connection, after, limit + 1)
        return answer(
            {
                "devices": [translate.device(device) for device in page[:limit]],
                "next": page[limit - 1].id if len(page) > limit else None,
            }
        )

    @get("/{device_id:str}")
    async def get_device(self, caller: Caller, read: Read, device_id: str) -> Response[bytes]:
        number = query.path_id(device_id)
        caller.require("backoffice")
        async with read() as connection:
            return answer(translate.device(await found(connection, number)))

    @put("/{device_id:str}/schedule")
    async def put_schedule(
        self, request: Request[Any, Any, Any], caller: Caller, work: Work, device_id: str
    ) -> Response[bytes]:
        number = query.path_id(device_id)
        caller.require("backoffice")
        text = (await body.read(request)).text("slots", 4000, shortest=0)
        async with work() as connection:
            device = await found(connection, number)
            try:
                wanted = slots.parse(text, device.max_power_w)
            except slots.BadSlots as problem:
                raise Problem(422, str(problem)) from None
            schedule = await schedules.put(connection, number, wanted)
        return answer(translate.schedule(number, schedule))


@get("/get-schedule/{device_id:str}", guards=[query.ids_in_path], include_in_schema=False)
async def get_schedule(caller: Caller, read: Read, device_id: str) -> Response[bytes]:
    """Polled by every device."""
    number = query.path_id(device_id)
    caller.require("backoffice", "device")
    caller.require_device(number)
    async with read() as connection:
        if caller.is_back_office:
            await found(connection, number)
        schedule = await schedules.get(connection, number)
        commands = await schedules.open_commands(connection, number)
    return answer(
        {**translate.schedule(number, schedule), "commands": [translate.command(command) for command in commands]}
    )
