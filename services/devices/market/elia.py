"""Elia's open data (Explore v2.1): one-minute prices (ods161) and quarter-hours (ods162, ods134). Pure.

Times carry an offset; `qualitystatus` is the source's word for whether a price is settled: what it calls other than
validated is provisional. https://opendata.elia.be/api/explore/v2.1/
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from services.devices.market.errors import BadData
from services.devices.market.prices import Price, once

AREA = "BE"
MINUTES = {"PT1M": 1, "PT15M": 15}
_CENT = Decimal("0.01")
_MOST = Decimal(100_000)


class _Record(msgspec.Struct):
    """Other fields are ignored: the source adds some now and then."""

    datetime: Annotated[datetime, msgspec.Meta(tz=True)]
    resolutioncode: Literal["PT1M", "PT15M"]
    imbalanceprice: Decimal | None = None
    qualitystatus: str = ""


class _Page(msgspec.Struct):
    results: list[_Record]


_DECODER = msgspec.json.Decoder(_Page)


def parse(body: bytes, area: str = AREA) -> list[Price]:
    """The prices of an answer; a record without a price yet is left out. Raises: BadData."""
    try:
        page = _DECODER.decode(body)
        return once(_price(record, area) for record in page.results if record.imbalanceprice is not None)
    except (msgspec.MsgspecError, UnicodeDecodeError, ArithmeticError) as error:
        raise BadData(f"not an answer of Elia's: {error}") from None


def _price(record: _Record, area: str) -> Price:
    price = record.imbalanceprice
    if price is None or not price.is_finite() or abs(price) >= _MOST:
        raise BadData(f"{price} is no price")
    settled = record.qualitystatus.strip().lower() == "validated"
    return Price(
        area,
        record.datetime.astimezone(UTC),
        MINUTES[record.resolutioncode],
        price.quantize(_CENT),
        "validated" if settled else "provisional",
        "elia",
    )
