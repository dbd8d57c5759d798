"""What energy costs: exact until the one rounding at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Quote:
    """`energy_kwh` for `amount` EUR including VAT; `state` open or expired."""

    id: int
    client_ref: str | None
    customer_id: int
    tariff_code: str
    energy_kwh: Decimal
    amount: Decimal
    state: str
    created_at: datetime


def amount(energy_kwh: Decimal, price_per_kwh: Decimal, vat_rate: Decimal) -> Decimal:
    """EUR including VAT, rounded half-up to cents; negative when prices are."""
    return (energy_kwh * price_per_kwh * (1 + vat_rate)).quantize(CENT, rounding=ROUND_HALF_UP)


def per_kwh(eur_per_mwh: Decimal) -> Decimal:
    return eur_per_mwh / 1000
