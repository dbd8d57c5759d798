"""Bulk amounts are those of the quotes, to the cent, whatever the energies and rates."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from services.pricing.bulk.exact import CHUNK, cents, slowly, unit
from services.pricing.domain.quotes import dynamic_amount, fixed_amount

ENERGIES = st.lists(st.decimals(0, 999_999_999, places=3), min_size=1, max_size=30)
VAT = st.decimals(0, 1, places=4)


def wh(energies: list[Decimal]) -> np.ndarray:
    return np.array([int(energy * 1000) for energy in energies], dtype=np.int64)


@given(ENERGIES, st.decimals(-24, 240, places=5), VAT)
@example([Decimal("0.005")], Decimal("24"), Decimal("0"))
@example([Decimal("999999999.999")], Decimal("240"), Decimal("1"))
def test_a_fixed_tariffs_amounts_are_decimals(energies: list[Decimal], rate_sum: Decimal, vat: Decimal) -> None:
    made = cents(wh(energies), [unit("F", rate_sum, 24, vat)])[:, 0]
    assert made.tolist() == [int(fixed_amount(energy, rate_sum, vat) * 100) for energy in energies]


@given(ENERGIES, st.decimals(-12_000, 40_000, places=2), st.sampled_from([23, 24, 25]), VAT)
def test_a_dynamic_tariffs_amounts_are_decimals(
    energies: list[Decimal], market_sum: Decimal, hours: int, vat: Decimal
) -> None:
    made = cents(wh(energies), [unit("D", market_sum / 1000, hours, vat)])[:, 0]
    assert made.tolist() == [int(dynamic_amount(energy, market_sum, hours, vat) * 100) for energy in energies]


@given(st.integers(-(10**7), 10**7), st.decimals(-24, 240, places=5), VAT)
def test_the_fast_and_the_slow_way_agree(energy: int, rate_sum: Decimal, vat: Decimal) -> None:
    tariff = unit("F", rate_sum, 24, vat)
    assert cents(np.array([energy], dtype=np.int64), [tariff])[0, 0] == slowly(energy, tariff)


def test_halves_are_rounded_away_from_zero_on_both_sides() -> None:
    tariff = unit("F", Decimal(24), 24, Decimal(0))  # 1 EUR a kWh: 5 Wh are half a cent
    assert cents(np.array([4, 5, 15, -5, -15]), [tariff])[:, 0].tolist() == [0, 1, 2, -1, -2]


def test_every_row_of_many_chunks_has_its_amount() -> None:
    energies = np.arange(2 * CHUNK + 7, dtype=np.int64) * 10
    made = cents(energies, [unit("F", Decimal(24), 24, Decimal(0)), unit("G", Decimal(48), 24, Decimal(0))])
    assert made[:, 0].tolist() == list(range(len(energies)))
    assert np.array_equal(made[:, 1], 2 * made[:, 0])
