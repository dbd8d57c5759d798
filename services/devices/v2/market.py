"""`/v2/imbalance`: what the market's job knows; `/v2/devices/{id}/charge`: a battery tells how full it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from litestar import Controller, get, post
from litestar.datastructures import State
from msgspec import Meta, Struct

from services.chassis.application import Read, Work
from services.chassis.auth import Caller, only
from services.chassis.errors import Problem
from services.chassis.fields import Instant
from services.devices.market.gaps import find_gaps
from services.devices.store import fleet, imbalance

#: A device's clock may be ahead by so much before what it says is not believed.
CLOCK_AHEAD = timedelta(minutes=2)


class Imbalance(Struct):
    """`job`: this process asks a source each minute. `fresh`: batteries are steered by the newest price now."""

    job: bool
    area: str
    price: str | None = None
    starts_at: datetime | None = None
    minutes: int | None = None
    quality: str | None = None
    fresh: bool = False
    gaps: list[datetime] = []


class Charge(Struct, forbid_unknown_fields=True):
    soc: Annotated[float, Meta(ge=0, le=1)]
    observed_at: Instant


class Kept(Struct):
    """False: a newer report was there already."""

    kept: bool


class MarketV2(Controller):
    path = "/v2"
    tags = ["market"]

    @get("/imbalance", guards=[only("backoffice")], summary="The newest imbalance price, its age and its gaps")
    async def get_imbalance(
        self, state: State, read: Read, area: Annotated[str, Meta(max_length=8, pattern=r"^[A-Za-z0-9_-]+$")] = "NL"
    ) -> Imbalance:
        job, now = bool(state.get("market")), datetime.now(UTC)
        async with read() as connection:
            price = await imbalance.newest(connection, area, now)
            if price is None:
                return Imbalance(job, area)
            missing = await find_gaps(connection, price)
        return Imbalance(
            job,
            area,
            f"{price.price:.2f}",
            price.starts_at,
            price.minutes,
            price.quality,
            price.is_fresh(now),
            missing,
        )

    @post(
        "/devices/{device_id:int}/charge",
        guards=[only("device")],
        status_code=200,
        summary="How full the battery is; the market's job goes by it for a quarter of an hour",
    )
    async def tell_charge(self, caller: Caller, work: Work, device_id: int, data: Charge) -> Kept:
        caller.require_device(device_id)
        if not timedelta(0) <= datetime.now(UTC) + CLOCK_AHEAD - data.observed_at <= timedelta(days=366):
            raise Problem(422, "observed_at is in the future, or more than a year ago")
        async with work() as connection:
            return Kept(await fleet.report(connection, device_id, data.soc, data.observed_at))
