"""What energy costs: exact until the one rounding at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext

CENT = Decimal("0.01")
HOURS_A_DAY = 24
KWH_A_MWH = 1000


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


def fixed_amount(energy_kwh: Decimal, rate_sum: Decimal, vat_rate: Decimal) -> Decimal:
    """EUR at the mean price of a day; `rate_sum` is EUR/kWh summed over its 24 hours."""
    return _rounded(energy_kwh * rate_sum, vat_rate, HOURS_A_DAY)


def dynamic_amount(energy_kwh: Decimal, market_sum: Decimal, hours: int, vat_rate: Decimal) -> Decimal:
    """EUR at the mean market price of `hours` hours, whose EUR/MWh sum to `market_sum`; negative when that is."""
    return _rounded(energy_kwh * market_sum, vat_rate, hours * KWH_A_MWH)


def _rounded(dividend: Decimal, vat_rate: Decimal, divisor: int) -> Decimal:
    with localcontext() as context:
        context.prec = 60  # far more digits than the columns hold, so that only the last step rounds
        return (dividend * (1 + vat_rate) / divisor).quantize(CENT, ROUND_HALF_UP)
