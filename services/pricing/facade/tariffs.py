"""`/api/tariffs` as the monolith serves it."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get, post, put

from services.chassis.application import Read, Work
from services.chassis.auth import Caller
from services.chassis.errors import Problem
from services.chassis.facade import body
from services.chassis.facade.answers import answer
from services.pricing.domain.tariffs import Rate, Tariff, covers_the_day
from services.pricing.facade import translate
from services.pricing.store import tariffs


class TariffsFacade(Controller):
    path = "/api/tariffs"
    include_in_schema = False

    @get()
    async def list_tariffs(self, read: Read) -> Response[bytes]:
        async with read() as connection:
            found = await tariffs.list_all(connection)
        return answer({"tariffs": [translate.tariff(tariff) for tariff in found]})

    @post()
    async def add_tariff(self, request: Request[Any, Any, Any], caller: Caller, work: Work) -> Response[bytes]:
        caller.require("backoffice")
        fields = await body.read(request)
        tariff = Tariff(
            code=fields.text("code", 20),
            name=fields.text("name", 100),
            kind=translate.KINDS.word(fields.choice("kind", translate.KINDS.letters)),
            standing_charge=translate.to_euros(fields.integer("standing_cents", 0, 1_000_000)),
            vat_rate=translate.to_fraction(fields.decimal("vat_pct", 2, "0", "100")),
            valid_from=fields.local_time("valid_from"),
            state="active",
            rates=_rates(fields, optional=True),
        )
        async with work() as connection:
            if not await tariffs.add(connection, tariff):
                raise Problem(409, "tariff code exists")
        return answer(translate.tariff(tariff), 201)

    @put("/{code:str}/rates")
    async def put_rates(
        self, request: Request[Any, Any, Any], caller: Caller, work: Work, code: str
    ) -> Response[bytes]:
        caller.require("backoffice")
        rates = _rates(await body.read(request), optional=False)
        if "\x00" in code:
            raise Problem(404, "tariff not found")
        async with work() as connection:
            tariff = await tariffs.replace_rates(connection, code, rates)
        if tariff is None:
            raise Problem(404, "tariff not found")
        return answer(translate.tariff(tariff))


def _rates(fields: body.Fields, *, optional: bool) -> tuple[Rate, ...]:
    """The rates in order of hour; they price the whole day, unless there are none and none are needed."""
    default = [] if optional else body.REQUIRED
    rates = [
        Rate(
            item.integer("hour_from", 0, 23),
            item.integer("hour_to", 1, 24),
            item.decimal("price_kwh", 5, "-99999", "99999"),
        )
        for item in fields.objects("rates", most=24, fewest=0 if optional else 1, default=default)
    ]
    if rates and not covers_the_day(rates):
        raise Problem(422, "rates must cover the hours 0 to 24 without gap or overlap")
    return tuple(sorted(rates, key=lambda rate: rate.starts_hour))
