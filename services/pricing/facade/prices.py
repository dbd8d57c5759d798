"""`/api/prices` as the monolith serves it: local days, hours with a flag."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from litestar import Controller, Request, Response, get, post

from services.chassis.application import Read, Work
from services.chassis.auth import Caller
from services.chassis.errors import Problem
from services.chassis.facade import body, query
from services.chassis.facade.answers import answer
from services.chassis.localtime import day_start, local_text
from services.pricing.facade import translate
from services.pricing.store import prices

LONGEST_DAYS = 366
MOST_PRICES = 10_000

_AREA = re.compile(r"[A-Za-z0-9_-]{1,8}")
_AREA_TEXT = "area must be 1 to 8 letters, digits, _ or -"


class PricesFacade(Controller):
    path = "/api/prices"
    include_in_schema = False

    @get()
    async def list_prices(self, request: Request[Any, Any, Any], read: Read) -> Response[bytes]:
        arguments = query.arguments(request)
        area = arguments.get("area", "")
        if not _AREA.fullmatch(area):
            raise Problem(400, _AREA_TEXT)
        start, end = (day_start(day) for day in query.days(arguments, LONGEST_DAYS))
        async with read() as connection:
            found = await prices.between(connection, area, start, end)
            days = await prices.days_between(connection, area, start, end)
        return answer(
            {
                "area": area,
                "prices": [translate.price(price) for price in found],
                "days": [translate.price_day(day) for day in days],
            }
        )

    @post(status_code=200)
    async def post_prices(self, request: Request[Any, Any, Any], caller: Caller, work: Work) -> Response[bytes]:
        caller.require("backoffice")
        fields = await body.read(request)
        area = fields.text("area", 8)
        if not _AREA.fullmatch(area):
            raise Problem(422, _AREA_TEXT)
        source = fields.text("source", 20)
        batch = _batch(fields)
        async with work() as connection:
            stored = await prices.store(connection, area, source, batch)
        return answer({"inserted": stored.inserted, "updated": stored.updated, "unchanged": stored.unchanged})


def _batch(fields: body.Fields) -> dict[datetime, Decimal]:
    batch: dict[datetime, Decimal] = {}
    for item in fields.objects("prices", most=MOST_PRICES):
        starts_at = item.hour()
        price = item.decimal("eur_mwh", 2, "-99999.99", "99999.99")
        if starts_at in batch:
            raise Problem(422, f"local time {local_text(starts_at)} comes twice")
        batch[starts_at] = price
    return batch
