"""Reads what bulk prices need: tariffs in one query, quotes as a binary COPY that numpy takes as it is.

In PostgreSQL's binary COPY a row of integers has a fixed length, so a block of rows is an array of records,
and no value becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from services.chassis.localtime import ZONE_NAME
from services.pricing.bulk.exact import Ints, Unit, unit
from services.pricing.domain.quotes import HOURS_A_DAY, KWH_A_MWH
from services.pricing.store.quotes import AREA

#: Rows handed on at once.
BLOCK = 262_144

_ROW = np.dtype([
    ("fields", ">i2"), ("tariff_length", ">i4"), ("tariff", ">i4"), ("energy_length", ">i4"), ("energy", ">i8"),
    ("amount_length", ">i4"), ("amount", ">i8"),
])  # fmt: skip
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_HEADER = len(_SIGNATURE) + 8

# A tariff is told by its number in the order of codes: −1 where there is none (any more) that prices.
_QUOTES = """
    COPY (
        SELECT coalesce(t.number, -1)::int4, (q.energy_kwh * 1000)::int8, (q.amount * 100)::int8
        FROM quotes AS q
        LEFT JOIN (
            SELECT code, place - 1 AS number FROM unnest({codes}::text[]) WITH ORDINALITY AS u (code, place)
        ) AS t ON t.code = q.tariff_code
        WHERE q.state = 'open'
    ) TO STDOUT (FORMAT binary)
"""

TARIFFS = """
    SELECT t.code, t.kind, t.vat_rate, r.price_sum, m.price_sum, m.hours
    FROM tariffs AS t
    LEFT JOIN LATERAL (
        SELECT sum(price_per_kwh * (ends_hour - starts_hour)) AS price_sum FROM tariff_rates WHERE tariff_id = t.id
    ) AS r ON t.kind = 'fixed'
    LEFT JOIN LATERAL (
        SELECT sum(price) AS price_sum, count(*) AS hours FROM market_prices
        WHERE area = %(area)s AND starts_at >= (
            SELECT date_trunc('day', max(starts_at), %(zone)s::text) FROM market_prices WHERE area = %(area)s
        )
    ) AS m ON t.kind = 'dynamic'
    WHERE t.state = 'active' ORDER BY t.code
"""


NOW = {"area": AREA, "zone": ZONE_NAME}


@dataclass(frozen=True, slots=True)
class Quotes:
    """A block of open quotes; `tariff` is an index into the units, or −1."""

    tariff: NDArray[np.int32]
    energy_wh: Ints
    cents: Ints


def units(connection: psycopg.Connection[Any]) -> list[Unit]:
    """The active tariffs that have prices now, by code: at the rates, or the mean of the newest day of the market."""
    rows = connection.execute(TARIFFS, NOW).fetchall()
    found = []
    for code, kind, vat_rate, rate_sum, market_sum, market_hours in rows:
        if kind == "fixed" and rate_sum is not None:
            found.append(unit(code, rate_sum, HOURS_A_DAY, vat_rate))
        elif kind == "dynamic" and market_hours:
            found.append(unit(code, Decimal(market_sum) / KWH_A_MWH, market_hours, vat_rate))
    return found


def quotes(connection: psycopg.Connection[Any], tariffs: list[Unit]) -> Iterator[Quotes]:
    """Every open quote, in blocks."""
    statement = sql.SQL(_QUOTES).format(codes=sql.Literal([tariff.code for tariff in tariffs]))
    waiting = bytearray()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        header = False
        for block in copy:
            waiting += block
            if not header and len(waiting) >= _HEADER:
                if not waiting.startswith(_SIGNATURE):
                    raise ValueError("PostgreSQL's binary COPY does not begin as it should")
                del waiting[:_HEADER]
                header = True
            if len(waiting) >= BLOCK * _ROW.itemsize:
                yield _block(waiting)
        yield _block(waiting)


def _block(waiting: bytearray) -> Quotes:
    """Take the whole rows out of what has come; what is left at the very end is the two bytes of the trailer."""
    count = len(waiting) // _ROW.itemsize
    rows = np.frombuffer(bytes(memoryview(waiting)[: count * _ROW.itemsize]), dtype=_ROW)
    del waiting[: count * _ROW.itemsize]
    return Quotes(
        rows["tariff"].astype(np.int32),
        rows["energy"].astype(np.int64),
        rows["amount"].astype(np.int64),
    )
