"""Amounts in int64, exact to the cent: what a column of energies costs under a row of tariffs. Pure.

A tariff's price of a kWh is a fraction of whole numbers, so an amount is one multiplication, and one division that
rounds half away from zero, as Decimal's ROUND_HALF_UP does. Where the product could leave int64 the amount is made by
Decimal: never a wrong number, at worst a slow one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from math import gcd

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
WH_A_KWH = 1000
CENTS = 100
#: Energies priced at once: what is under way stays in a core's cache.
CHUNK = 8192
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Unit:
    """Cents of one Wh, VAT included, as the fraction `up / down`; `down` is above 0."""

    code: str
    up: int
    down: int


def unit(code: str, price_sum: Decimal, hours: int, vat_rate: Decimal) -> Unit:
    """A tariff whose EUR/kWh sum to `price_sum` over `hours` hours."""
    (price_up, price_down), (vat_up, vat_down) = price_sum.as_integer_ratio(), (1 + vat_rate).as_integer_ratio()
    up, down = price_up * vat_up * CENTS, price_down * vat_down * hours * WH_A_KWH
    common = gcd(up, down)
    return Unit(code, up // common, down // common)


def cents(energy_wh: Ints, tariffs: Sequence[Unit]) -> Ints:
    """The amounts, [energy, tariff]. Raises: OverflowError where an amount itself leaves int64."""
    made = np.empty((len(energy_wh), len(tariffs)), dtype=np.int64)
    for start in range(0, len(energy_wh), CHUNK):
        part = energy_wh[start : start + CHUNK]
        for number, tariff in enumerate(tariffs):
            made[start : start + CHUNK, number] = _column(part, tariff)
    return made


def _column(energy_wh: Ints, tariff: Unit) -> Ints:
    most = max(abs(int(energy_wh.max(initial=0))), abs(int(energy_wh.min(initial=0))))
    if 2 * most * abs(tariff.up) + tariff.down > _LARGEST:
        return np.array([slowly(int(wh), tariff) for wh in energy_wh], dtype=np.int64)
    twice = energy_wh * (2 * tariff.up)
    down = 2 * tariff.down
    if tariff.up >= 0 and energy_wh.min(initial=0) >= 0:
        return np.asarray((twice + tariff.down) // down)
    return np.asarray(np.sign(twice) * ((np.abs(twice) + tariff.down) // down))


def slowly(energy_wh: int, tariff: Unit) -> int:
    """One amount by Decimal, however large."""
    with localcontext() as context:
        context.prec = 60
        return int((Decimal(energy_wh * tariff.up) / tariff.down).quantize(Decimal(1), ROUND_HALF_UP))
