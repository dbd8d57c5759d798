"""Reads what a fleet wrote from either database of pricing (docs/architecture.md §4), as it was accepted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from load.calls import Hour, Rate
from load.memory import Accepted, PriceKey, Quote, Rates

ZONE = ZoneInfo("Europe/Amsterdam")
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Contents:
    """A side's rows of this fleet. Lists, because a fault may store a thing twice."""

    quotes: list[Quote]
    prices: dict[PriceKey, list[str]]
    rates: dict[str, list[Rates]]


def legacy_contents(dsn: str, accepted: Accepted) -> Contents:
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        quotes = connection.execute(
            "SELECT client_ref, customer_id, tariff_code, kwh, id, amount_cents FROM quote WHERE tariff_code = ANY(%s)",
            [_codes(accepted)],
        ).fetchall()
        prices = connection.execute(
            "SELECT area, ts, hour_flag, eur_mwh FROM price WHERE area = ANY(%s)", [_areas(accepted)]
        ).fetchall()
        rates = connection.execute(
            "SELECT t.id, t.code, r.hour_from, r.hour_to, r.price_kwh FROM tariff t LEFT JOIN tariff_rate r"
            " ON r.tariff_id = t.id WHERE t.code = ANY(%s) ORDER BY t.id, r.hour_from",
            [_codes(accepted)],
        ).fetchall()
    return Contents(
        [Quote(ref, customer, code, f"{kwh:.3f}", id_, cents) for ref, customer, code, kwh, id_, cents in quotes],
        _by_key((PriceKey(area, Hour(ts.isoformat(), flag)), eur) for area, ts, flag, eur in prices),
        _by_code(rates),
    )


def service_contents(dsn: str, accepted: Accepted) -> Contents:
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        quotes = connection.execute(
            "SELECT client_ref, customer_id, tariff_code, energy_kwh, id, amount FROM quotes"
            " WHERE tariff_code = ANY(%s)",
            [_codes(accepted)],
        ).fetchall()
        prices = connection.execute(
            "SELECT area, starts_at, price FROM market_prices WHERE area = ANY(%s)", [_areas(accepted)]
        ).fetchall()
        rates = connection.execute(
            "SELECT t.id, t.code, r.starts_hour, r.ends_hour, r.price_per_kwh FROM tariffs t LEFT JOIN tariff_rates r"
            " ON r.tariff_id = t.id WHERE t.code = ANY(%s) ORDER BY t.id, r.starts_hour",
            [_codes(accepted)],
        ).fetchall()
    return Contents(
        [Quote(ref, customer, code, f"{kwh:.3f}", id_, _cents(eur)) for ref, customer, code, kwh, id_, eur in quotes],
        _by_key((PriceKey(area, local_hour(at)), price) for area, at, price in prices),
        _by_code(rates),
    )


def local_hour(instant: datetime) -> Hour:
    """An instant as the monolith writes it."""
    local = instant.astimezone(ZONE)
    other = local.replace(fold=1 - local.fold)
    repeated = other.utcoffset() != local.utcoffset() and other.astimezone(UTC) != instant
    repeated = repeated and other.astimezone(UTC).astimezone(ZONE).replace(tzinfo=None) == local.replace(tzinfo=None)
    return Hour(local.replace(tzinfo=None).isoformat(), "NAB"[(1 + local.fold) * repeated])


def _areas(accepted: Accepted) -> list[str]:
    return sorted({key.area for key in accepted.prices})


def _codes(accepted: Accepted) -> list[str]:
    quotes = {*accepted.quotes.values(), *accepted.uncertain_quotes.values()}
    return sorted({*accepted.rates, *(quote.tariff_code for quote in quotes)})


def _cents(eur: Decimal) -> int | None:
    """None, which equals no accepted amount, when it is no whole number of cents."""
    cents = eur / _CENT
    return int(cents) if cents == cents.to_integral_value() else None


def _by_key(rows: Any) -> dict[PriceKey, list[str]]:
    found: dict[PriceKey, list[str]] = defaultdict(list)
    for key, value in rows:
        found[key].append(f"{value:.2f}")
    return found


def _by_code(rows: Any) -> dict[str, list[Rates]]:
    """One entry per tariff row; a tariff without rates has an empty one."""
    tariffs: dict[tuple[int, str], list[Rate]] = defaultdict(list)
    for id_, code, start, end, price in rows:
        bands = tariffs[id_, code]
        if start is not None:
            bands.append(Rate(start, end, f"{price:.5f}"))
    found: dict[str, list[Rates]] = defaultdict(list)
    for (_, code), bands in tariffs.items():
        found[code].append(tuple(bands))
    return found
