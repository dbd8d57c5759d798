"""`/api/notifications` as the monolith serves it."""

from __future__ import annotations

import re
from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import State

from services.chassis.application import Read, Work
from services.chassis.auth import Caller
from services.chassis.errors import Problem
from services.chassis.facade import body, query
from services.chassis.facade.answers import answer
from services.chassis.localtime import to_local
from services.chassis.telemetry import is_dry_run
from services.notifications.facade import translate
from services.notifications.sending import Sender
from services.notifications.store import customers, messages

_EMAIL = re.compile(r"[^\s@<>,;:\"]+@[^\s@<>,;:\"]+\.[^\s@<>,;:\".]+")


class MessagesFacade(Controller):
    path = "/api/notifications"
    include_in_schema = False

    @post()
    async def add_message(
        self, request: Request[Any, Any, Any], caller: Caller, work: Work, state: State
    ) -> Response[bytes]:
        caller.require("backoffice")
        fields = await body.read(request)
        customer_id = fields.identifier("customer_id")
        channel = translate.CHANNELS.word(fields.choice("channel", translate.CHANNELS.letters))
        subject, text = fields.text("subject", 200), fields.text("body", 10_000)
        to = fields.text("to", 200, None)
        if to is not None and channel == "email" and not _EMAIL.fullmatch(to):
            raise Problem(422, "to must be an e-mail address")
        sender: Sender = state.rehearsal if is_dry_run(request.scope) else state.sender
        async with work() as connection:
            known = await customers.find(connection, customer_id)
            if known is None:
                raise Problem(404, "customer not found")
            address, wanted = known
            if not wanted.allows(channel):
                raise Problem(422, "customer has switched off this channel")
            recipient = to or (address if channel == "email" else None)
            if recipient is None:
                raise Problem(422, "to is needed for this channel")
            message = await messages.add(
                connection, customer_id=customer_id, channel=channel, recipient=recipient, subject=subject, body=text
            )
            if not wanted.is_quiet(to_local(message.created_at)):
                message = await sender.send_now(connection, message)
        return answer(translate.message(message), 201)

    @get()
    async def list_messages(self, request: Request[Any, Any, Any], caller: Caller, read: Read) -> Response[bytes]:
        caller.require("backoffice", "customer")
        arguments = query.arguments(request)
        limit, after = query.page(arguments)
        customer_id = query.identifier(arguments, "customer_id", None if caller.is_back_office else caller.id)
        if customer_id is not None:
            caller.require_customer(customer_id)
        async with read() as connection:
            page = await messages.page(connection, customer_id, after, limit + 1)
        return answer(
            {
                "notifications": [translate.message(message) for message in page[:limit]],
                "next": page[limit - 1].id if len(page) > limit else None,
            }
        )
