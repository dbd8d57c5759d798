"""What a quote costs: exact until it is rounded once, half away from zero, to cents."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, localcontext


def fixed_cents(kwh: Decimal, rates: Iterable[tuple[int, int, Decimal]], vat_pct: Decimal) -> int:
    """By the mean price of the 24 hours. `rates` are (hour_from, hour_to, EUR a kWh)."""
    day = sum(((to - since) * price for since, to, price in rates), Decimal(0))
    return _cents(kwh * day, vat_pct, divisor=24)


def dynamic_cents(kwh: Decimal, eur_mwh_sum: Decimal, hours: int, vat_pct: Decimal) -> int:
    """By the mean market price of `hours` hours that sum to `eur_mwh_sum`."""
    return _cents(kwh * eur_mwh_sum, vat_pct, divisor=hours * 1000)


def _cents(eur: Decimal, vat_pct: Decimal, divisor: int) -> int:
    with localcontext() as context:
        context.prec = 60  # far more digits than numeric columns hold, so that only the last step rounds
        return int((eur * (100 + vat_pct) / divisor).quantize(Decimal(1), ROUND_HALF_UP))
