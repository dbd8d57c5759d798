"""What the v2 API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from services.chassis.fields import Amount, Id, Instant

# The monolith's columns are as wide; a wider value could not travel back.
Code = Annotated[str, Meta(min_length=1, max_length=20, pattern=r"^[A-Za-z0-9._-]+$")]
Area = Annotated[str, Meta(min_length=1, max_length=8, pattern=r"^[A-Za-z0-9_-]+$")]
Source = Annotated[str, Meta(min_length=1, max_length=20)]
Hour = Annotated[int, Meta(ge=0, le=24)]


class Rate(Struct, forbid_unknown_fields=True):
    starts_hour: Hour
    ends_hour: Hour
    price_per_kwh: Amount


class Rates(Struct, forbid_unknown_fields=True):
    rates: Annotated[list[Rate], Meta(min_length=1, max_length=24)]


class NewTariff(Struct, forbid_unknown_fields=True):
    """`standing_charge` EUR a day; `vat_rate` a fraction ("0.21")."""

    code: Code
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    kind: Literal["fixed", "dynamic"]
    standing_charge: Amount
    vat_rate: Amount
    valid_from: Instant
    rates: Annotated[list[Rate], Meta(max_length=24)] = []


class Tariff(Struct):
    code: str
    name: str
    state: Literal["active", "inactive"]
    kind: Literal["fixed", "dynamic"]
    standing_charge: Amount
    vat_rate: Amount
    valid_from: datetime
    rates: list[Rate]


class TariffPage(Struct):
    items: list[Tariff]
    next_cursor: str | None


class NewPrice(Struct, forbid_unknown_fields=True):
    starts_at: Instant
    price: Amount


class PriceBatch(Struct, forbid_unknown_fields=True):
    """EUR/MWh."""

    area: Area
    source: Source
    prices: Annotated[list[NewPrice], Meta(min_length=1, max_length=10_000)]


class Stored(Struct):
    inserted: int
    updated: int
    unchanged: int


class Price(Struct):
    starts_at: datetime
    price: Amount
    source: str


class PricePage(Struct):
    area: str
    items: list[Price]
    next_cursor: str | None


class NewQuote(Struct, forbid_unknown_fields=True):
    """A customer may leave `customer_id` out: it is their own."""

    tariff_code: Code
    energy_kwh: Amount
    customer_id: Id | None = None


class Quote(Struct):
    """`amount` EUR including VAT."""

    id: int
    customer_id: int
    tariff_code: str
    energy_kwh: Amount
    amount: Amount
    state: Literal["open", "expired"]
    created_at: datetime


class QuotePage(Struct):
    items: list[Quote]
    next_cursor: str | None
