"""The monolith's words for pricing and ours: one-letter codes, cents, percents, local hours. Pure, both ways."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.chassis.facade.codes import Codes
from services.chassis.localtime import local_text, text, utc_to_hour
from services.pricing.domain.prices import MarketPrice, PriceDay
from services.pricing.domain.quotes import Quote
from services.pricing.domain.tariffs import Tariff

KINDS = Codes({"F": "fixed", "D": "dynamic"})
TARIFF_STATES = Codes({"A": "active", "I": "inactive"})
QUOTE_STATES = Codes({"O": "open", "X": "expired"})


def to_cents(euros: Decimal) -> int:
    """Raises: ValueError when it is not a whole number of cents."""
    cents = euros.scaleb(2)
    if cents != cents.to_integral_value():
        raise ValueError(f"{euros} is not a whole number of cents")
    return int(cents)


def to_euros(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def to_percent(rate: Decimal) -> Decimal:
    return rate.scaleb(2)


def to_fraction(percent: Decimal) -> Decimal:
    return percent.scaleb(-2)


def tariff(tariff: Tariff) -> dict[str, Any]:
    return {
        "code": tariff.code,
        "name": tariff.name,
        "status": TARIFF_STATES.letter(tariff.state),
        "kind": KINDS.letter(tariff.kind),
        "standing_cents": to_cents(tariff.standing_charge),
        "vat_pct": f"{to_percent(tariff.vat_rate):.2f}",
        "valid_from": local_text(tariff.valid_from),
        "rates": [
            {"hour_from": rate.starts_hour, "hour_to": rate.ends_hour, "price_kwh": f"{rate.price_per_kwh:.5f}"}
            for rate in tariff.rates
        ],
    }


def price(price: MarketPrice) -> dict[str, Any]:
    local, flag = utc_to_hour(price.starts_at)
    return {"ts": text(local), "hour_flag": flag, "eur_mwh": f"{price.price:.2f}", "source": price.source}


def price_day(day: PriceDay) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "min_eur_mwh": f"{day.lowest:.2f}",
        "max_eur_mwh": f"{day.highest:.2f}",
        "hours": day.hours,
    }


def quote(quote: Quote) -> dict[str, Any]:
    return {
        "id": quote.id,
        "client_ref": quote.client_ref,
        "customer_id": quote.customer_id,
        "tariff_code": quote.tariff_code,
        "kwh": f"{quote.energy_kwh:.3f}",
        "amount_cents": to_cents(quote.amount),
        "status": QUOTE_STATES.letter(quote.state),
        "created": local_text(quote.created_at),
    }
