"""`/api/devices/{id}/acks` as the monolith serves it."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get, post

from services.chassis.application import Read, Work
from services.chassis.auth import Caller
from services.chassis.facade import body, query
from services.chassis.facade.answers import answer
from services.devices.domain.devices import Report
from services.devices.facade import translate
from services.devices.facade.codes import ACK_STATES
from services.devices.facade.devices import found
from services.devices.store import acks


class AcksFacade(Controller):
    path = "/api/devices/{device_id:str}/acks"
    guards = [query.ids_in_path]
    include_in_schema = False

    @post()
    async def add_ack(
        self, request: Request[Any, Any, Any], caller: Caller, work: Work, device_id: str
    ) -> Response[bytes]:
        number = query.path_id(device_id)
        caller.require("device")
        caller.require_device(number)
        fields = await body.read(request)
        ref = fields.text("ref", 64)
        state = ACK_STATES.word(fields.choice("state", ACK_STATES.letters))
        observed_at = fields.local_time("observed")
        report = Report(ref, state, observed_at, fields.text("note", 200, "", shortest=0))
        async with work() as connection:
            kept = await acks.add(connection, number, [report])
            ack = kept[0] if kept else await acks.get(connection, number, ref, state)
        if ack is None:
            raise LookupError("an acknowledgement vanished between two statements")
        return answer(translate.ack(ack), 201 if kept else 200)

    @get()
    async def list_acks(
        self, request: Request[Any, Any, Any], caller: Caller, read: Read, device_id: str
    ) -> Response[bytes]:
        number = query.path_id(device_id)
        caller.require("backoffice", "device")
        caller.require_device(number)
        async with read() as connection:
            if caller.is_back_office:
                await found(connection, number)
            limit, after = query.page(query.arguments(request))
            page = await acks.page(connection, number, after, limit + 1)
        return answer(
            {
                "acks": [translate.ack(ack) for ack in page[:limit]],
                "next": page[limit - 1].id if len(page) > limit else None,
            }
        )
