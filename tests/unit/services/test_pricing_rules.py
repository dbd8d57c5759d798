"""Money and rates: exact, rounded once, and the same in both representations."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.domain.quotes import dynamic_amount, fixed_amount
from services.pricing.domain.tariffs import Rate, covers_the_day
from services.pricing.facade import translate

CENTS = st.integers(min_value=-(2**31), max_value=2**31 - 1)
KWH = st.decimals(min_value="0.001", max_value="100000000", places=3)
VAT = st.decimals(min_value="0", max_value="1", places=4)


@given(CENTS)
def test_cents_come_back_from_euros(cents: int) -> None:
    assert translate.to_cents(translate.to_euros(cents)) == cents


@given(st.decimals(min_value="0", max_value="100", places=2))
def test_percents_come_back_from_fractions(percent: Decimal) -> None:
    back = translate.to_percent(translate.to_fraction(percent))
    assert (back, str(back)) == (percent, str(percent))


def test_a_part_of_a_cent_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        translate.to_cents(Decimal("0.005"))


def half_up(amount: Fraction) -> Decimal:
    """The exact reference: half away from zero to cents."""
    cents = abs(amount) * 100
    whole = cents.numerator // cents.denominator + (cents % 1 >= Fraction(1, 2))
    return Decimal(whole if amount >= 0 else -whole).scaleb(-2)


@given(KWH, st.decimals(min_value="-2399976", max_value="2399976", places=5), VAT)
def test_a_fixed_amount_is_exact_until_its_one_rounding(kwh: Decimal, rate_sum: Decimal, vat: Decimal) -> None:
    exact = Fraction(kwh) * Fraction(rate_sum) / 24 * (1 + Fraction(vat))
    assert fixed_amount(kwh, rate_sum, vat) == half_up(exact)


@given(KWH, st.decimals(min_value="-99999", max_value="99999", places=2), st.integers(1, 25), VAT)
def test_a_dynamic_amount_is_exact_until_its_one_rounding(
    kwh: Decimal, market_sum: Decimal, hours: int, vat: Decimal
) -> None:
    exact = Fraction(kwh) * Fraction(market_sum) / hours / 1000 * (1 + Fraction(vat))
    assert dynamic_amount(kwh, market_sum, hours, vat) == half_up(exact)


def test_half_a_cent_is_rounded_away_from_zero() -> None:
    assert fixed_amount(Decimal("0.005"), Decimal(24), Decimal(0)) == Decimal("0.01")
    assert fixed_amount(Decimal("0.005"), Decimal(-24), Decimal(0)) == Decimal("-0.01")


@pytest.mark.parametrize(
    ("edges", "covered"),
    [
        ([(0, 24)], True),
        ([(7, 24), (0, 7)], True),
        ([], False),
        ([(0, 23)], False),
        ([(1, 24)], False),
        ([(0, 12), (13, 24)], False),
        ([(0, 13), (12, 24)], False),
        ([(0, 24), (0, 24)], False),
    ],
)
def test_rates_cover_the_day_without_gap_or_overlap(edges: list[tuple[int, int]], covered: bool) -> None:
    assert covers_the_day([Rate(start, end, Decimal(1)) for start, end in edges]) is covered
