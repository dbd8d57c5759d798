"""`/v2/tariffs`."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from litestar import Controller, get, post, put
from litestar.params import Parameter

from services.chassis import cursors
from services.chassis.application import Read, Work
from services.chassis.auth import only
from services.chassis.errors import Problem
from services.chassis.fields import LONGEST_PAGE, PAGE, at_scale
from services.pricing.domain import tariffs as domain
from services.pricing.store import tariffs
from services.pricing.v2 import schemas


class TariffsV2(Controller):
    path = "/v2/tariffs"
    tags = ["tariffs"]

    @get(summary="Tariffs, by code")
    async def list_tariffs(
        self,
        read: Read,
        cursor: str | None = None,
        limit: Annotated[int, Parameter(ge=1, le=LONGEST_PAGE)] = PAGE,
    ) -> schemas.TariffPage:
        after = "" if cursor is None else cursors.decode(cursor, str)
        async with read() as connection:
            found = await tariffs.page(connection, after, limit + 1)
        more = cursors.encode(found[limit - 1].code) if len(found) > limit else None
        return schemas.TariffPage([_shown(tariff) for tariff in found[:limit]], more)

    @get("/{code:str}", summary="One tariff")
    async def get_tariff(self, read: Read, code: str) -> schemas.Tariff:
        async with read() as connection:
            found = await tariffs.get(connection, code)
        if found is None:
            raise Problem(404, f"there is no tariff {code}")
        return _shown(found)

    @post(guards=[only("backoffice")], summary="A new tariff")
    async def add_tariff(self, work: Work, data: schemas.NewTariff) -> schemas.Tariff:
        tariff = _tariff(data)
        async with work() as connection:
            if not await tariffs.add(connection, tariff):
                raise Problem(409, f"there is a tariff {tariff.code} already")
        return _shown(tariff)

    @put("/{code:str}/rates", guards=[only("backoffice")], summary="Replace the rates")
    async def put_rates(self, work: Work, code: str, data: schemas.Rates) -> schemas.Tariff:
        rates = _rates(data.rates)
        async with work() as connection:
            found = await tariffs.replace_rates(connection, code, rates)
        if found is None:
            raise Problem(404, f"there is no tariff {code}")
        return _shown(found)


def _tariff(data: schemas.NewTariff) -> domain.Tariff:
    standing = at_scale(data.standing_charge, 9, 2, "standing_charge")
    vat = at_scale(data.vat_rate, 5, 4, "vat_rate")
    if standing < 0 or vat < 0:
        raise Problem(422, "standing_charge and vat_rate are not negative")
    return domain.Tariff(
        data.code, data.name, "active", data.kind, standing, vat, data.valid_from.astimezone(UTC),
        _rates(data.rates) if data.rates else (),
    )  # fmt: skip


def _rates(rates: list[schemas.Rate]) -> tuple[domain.Rate, ...]:
    made = [domain.Rate(r.starts_hour, r.ends_hour, at_scale(r.price_per_kwh, 10, 5, "price_per_kwh")) for r in rates]
    if not domain.covers_the_day(made):
        raise Problem(422, "the rates must price every hour from 0 to 24 exactly once")
    return tuple(sorted(made, key=lambda rate: rate.starts_hour))


def _shown(tariff: domain.Tariff) -> schemas.Tariff:
    return schemas.Tariff(
        code=tariff.code,
        name=tariff.name,
        state=tariff.state,  # type: ignore[arg-type]
        kind=tariff.kind,  # type: ignore[arg-type]
        standing_charge=tariff.standing_charge,
        vat_rate=tariff.vat_rate,
        valid_from=tariff.valid_from,
        rates=[schemas.Rate(r.starts_hour, r.ends_hour, r.price_per_kwh) for r in tariff.rates],
    )
