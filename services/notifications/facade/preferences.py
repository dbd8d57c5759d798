"""`/api/customers/{id}/preferences` as the monolith serves it."""

from __future__ import annotations

import re
from datetime import time
from typing import Any

from litestar import Controller, Request, Response, get, put

from services.chassis.application import Read, Work
from services.chassis.auth import Caller
from services.chassis.errors import Problem
from services.chassis.facade import body, query
from services.chassis.facade.answers import answer
from services.notifications.domain.messages import Preferences, is_quiet_period
from services.notifications.facade import translate
from services.notifications.store import customers

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class PreferencesFacade(Controller):
    path = "/api/customers/{customer_id:str}/preferences"
    guards = [query.ids_in_path]
    include_in_schema = False

    @get()
    async def get_preferences(self, caller: Caller, read: Read, customer_id: str) -> Response[bytes]:
        number = _own(caller, customer_id)
        async with read() as connection:
            known = await customers.find(connection, number)
        if known is None:
            raise Problem(404, "customer not found")
        return answer(translate.preferences(number, known[1]))

    @put()
    async def put_preferences(
        self, request: Request[Any, Any, Any], caller: Caller, work: Work, customer_id: str
    ) -> Response[bytes]:
        number = _own(caller, customer_id)
        fields = await body.read(request)
        wanted = Preferences(
            email=fields.choice("email", ("Y", "N")) == "Y",
            sms=fields.choice("sms", ("Y", "N")) == "Y",
            push=fields.choice("push", ("Y", "N")) == "Y",
            quiet_from=_time(fields, "quiet_from"),
            quiet_to=_time(fields, "quiet_to"),
        )
        if not is_quiet_period(wanted.quiet_from, wanted.quiet_to):
            raise Problem(422, "quiet_from and quiet_to must be two different times, or both null")
        async with work() as connection:
            if await customers.find(connection, number) is None:
                raise Problem(404, "customer not found")
            await customers.put_preferences(connection, number, wanted)
        return answer(translate.preferences(number, wanted))


def _own(caller: Caller, customer_id: str) -> int:
    number = query.path_id(customer_id)
    caller.require("backoffice", "customer")
    caller.require_customer(number)
    return number


def _time(fields: body.Fields, name: str) -> time | None:
    text = fields.text(name, 5, None)
    if text is not None and not _TIME.fullmatch(text):
        raise Problem(422, f"{name} must be HH:MM")
    return translate.parse_clock(text)
