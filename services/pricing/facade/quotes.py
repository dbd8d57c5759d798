"""`/api/quotes` as the monolith serves it."""

from __future__ import annotations

import re
from typing import Any

from litestar import Controller, Request, Response, get, post

from services.chassis.application import Read, Work
from services.chassis.auth import Caller
from services.chassis.errors import Problem
from services.chassis.facade import body, query
from services.chassis.facade.answers import answer
from services.pricing import quoting
from services.pricing.facade import translate
from services.pricing.store import quotes

_KEY = re.compile(r"[\x21-\x7e]{1,64}")


class QuotesFacade(Controller):
    path = "/api/quotes"
    guards = [query.ids_in_path]
    include_in_schema = False

    @post()
    async def add_quote(self, request: Request[Any, Any, Any], caller: Caller, work: Work) -> Response[bytes]:
        caller.require("backoffice", "customer")
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise Problem(400, "Idempotency-Key must be 1 to 64 visible ASCII characters")
        fields = await body.read(request)
        code = fields.text("tariff_code", 20)
        kwh = fields.decimal("kwh", 3, "0.001", "100000000")
        customer_id = fields.identifier("customer_id", body.REQUIRED if caller.is_back_office else caller.id)
        caller.require_customer(customer_id)
        async with work() as connection:
            try:
                quote, is_new = await quoting.quote(connection, quoting.Wish(key, customer_id, code, kwh))
            except quoting.NotQuotable as refusal:
                raise Problem(refusal.status, str(refusal)) from refusal
            except quoting.KeyReused as refusal:
                raise Problem(409, "idempotency key was used for another quote") from refusal
        return answer(translate.quote(quote), 201 if is_new else 200)

    @get("/{quote_id:str}")
    async def get_quote(self, caller: Caller, read: Read, quote_id: str) -> Response[bytes]:
        number = query.path_id(quote_id)
        caller.require("backoffice", "customer")
        async with read() as connection:
            quote = await quotes.get(connection, number)
        if quote is None:
            raise Problem(404, "quote not found")
        caller.require_customer(quote.customer_id)
        return answer(translate.quote(quote))

    @get()
    async def list_quotes(self, request: Request[Any, Any, Any], caller: Caller, read: Read) -> Response[bytes]:
        caller.require("backoffice", "customer")
        limit, after = query.page(query.arguments(request))
        async with read() as connection:
            found = await quotes.page(connection, None if caller.is_back_office else caller.id, after, limit + 1)
        return answer(
            {
                "quotes": [translate.quote(quote) for quote in found[:limit]],
                "next": found[limit - 1].id if len(found) > limit else None,
            }
        )
