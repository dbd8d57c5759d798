"""`/v2/prices`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from litestar import Controller, get, put
from litestar.params import Parameter

from services.chassis import cursors
from services.chassis.application import Read, Work
from services.chassis.auth import only
from services.chassis.errors import Problem
from services.chassis.fields import LONGEST_PAGE, PAGE, at_scale
from services.pricing.store import prices
from services.pricing.v2 import schemas


class PricesV2(Controller):
    path = "/v2/prices"
    tags = ["prices"]

    @get(summary="Market prices of a half-open range of time")
    async def list_prices(
        self,
        read: Read,
        area: schemas.Area,
        start: Annotated[datetime, Parameter(query="from", description="inclusive; with an offset")],
        end: Annotated[datetime, Parameter(query="to", description="exclusive; with an offset")],
        cursor: str | None = None,
        limit: Annotated[int, Parameter(ge=1, le=LONGEST_PAGE)] = PAGE,
    ) -> schemas.PricePage:
        start, end = _instant(start, "from"), _instant(end, "to")
        if start >= end:
            raise Problem(400, "`from` is before `to`")
        if cursor is not None:
            start = max(start, _instant(cursors.decode(cursor, datetime), "cursor"))
        async with read() as connection:
            found = await prices.between(connection, area, start, end, limit + 1)
        more = cursors.encode(found[limit].starts_at) if len(found) > limit else None
        return schemas.PricePage(area, [schemas.Price(p.starts_at, p.price, p.source) for p in found[:limit]], more)

    @put(guards=[only("backoffice")], summary="Store a batch; the same batch again changes nothing")
    async def put_prices(self, work: Work, data: schemas.PriceBatch) -> schemas.Stored:
        batch: dict[datetime, Decimal] = {}
        for given in data.prices:
            at = given.starts_at.astimezone(UTC)
            if at.minute or at.second or at.microsecond:
                raise Problem(422, f"{given.starts_at.isoformat()} is not the start of an hour")
            if at in batch:
                raise Problem(422, f"{given.starts_at.isoformat()} comes twice in the batch")
            batch[at] = at_scale(given.price, 10, 2, "price")
        async with work() as connection:
            stored = await prices.store(connection, data.area, data.source, batch)
        return schemas.Stored(stored.inserted, stored.updated, stored.unchanged)


def _instant(value: datetime, name: str) -> datetime:
    if value.tzinfo is None:
        raise Problem(400, f"`{name}` needs an offset, as in 2024-03-31T00:00:00Z")
    return value.astimezone(UTC)
