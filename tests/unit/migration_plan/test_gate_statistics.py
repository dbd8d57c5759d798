"""The statistics of gates: against published and hand-made values, and what must hold for any two cohorts."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_plan.gates.statistics import (
    above,
    binomial_tail,
    mann_whitney,
    quantile,
    standardised,
    stratified,
)

COUNTS = st.lists(st.integers(0, 40), min_size=5, max_size=5)


def histogram(values: list[float]) -> list[int]:
    """One bucket for each whole number up to 100."""
    return [sum(1 for value in values if value == number) for number in range(101)]


def brute(first: list[int], second: list[int]) -> float:
    """U by its definition: every pair, ties half."""
    spread = [[i for i, count in enumerate(one) for _ in range(count)] for one in (first, second)]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(*spread))


def test_the_rank_test_gives_the_textbook_value() -> None:
    """Mann-Whitney of the diabetes ages in SciPy's manual: males 19 22 16 29 24, females 20 11 17 12: U = 17,
    asymptotic p 0.1113 (two-sided, with continuity), which SciPy took from a textbook."""
    found = mann_whitney(histogram([19, 22, 16, 29, 24]), histogram([20, 11, 17, 12]))
    assert found is not None
    assert found.u == 17
    assert 2 * found.p_greater == pytest.approx(0.11134688653314041, rel=1e-9)


def test_ties_are_corrected_for() -> None:
    """By hand: 1 2 2 3 against 2 3 3 4: U = 3; the ties 2×3, 3×3 take 48/56 off: 4·4/12·(9 − 48/56)."""
    found = mann_whitney(histogram([1, 2, 2, 3]), histogram([2, 3, 3, 4]))
    assert found is not None
    variance = 16 / 12 * (9 - 48 / 56)
    assert found.u == 3
    assert found.z == pytest.approx(-(8 - 3 - 0.5) / math.sqrt(variance), rel=1e-12)


@given(COUNTS, COUNTS)
def test_u_is_what_counting_every_pair_gives_and_sides_are_alike(first: list[int], second: list[int]) -> None:
    found, turned = mann_whitney(first, second), mann_whitney(second, first)
    if found is None or turned is None:
        assert not sum(first) or not sum(second) or sum(map(bool, map(sum, zip(first, second, strict=True)))) == 1
        return
    assert found.u == pytest.approx(brute(first, second))
    assert found.z == pytest.approx(-turned.z)
    assert found.effect + turned.effect == pytest.approx(1)


def test_cohorts_that_ask_for_different_things_are_compared_by_what_they_ask_for() -> None:
    """Simpson's paradox: the canary asks for the slow report more often, and is as fast in each operation."""
    quick, slow = [90, 10, 0, 0], [0, 0, 10, 90]
    strata = [([c // 10 for c in quick], quick), (slow, [c // 10 for c in slow])]
    pooled = mann_whitney([9, 1, 10, 90], [90, 10, 1, 9])
    assert pooled is not None
    assert pooled.p_greater < 0.001
    apart = stratified(strata)
    assert apart is not None
    assert apart.p_greater == pytest.approx(0.5, abs=0.01)
    both = standardised(strata)
    assert both is not None
    assert both[0] == pytest.approx(both[1])


def test_quantiles_and_what_is_above_are_interpolated() -> None:
    bounds = [1.0, 2.0, 4.0]
    assert quantile([10, 10, 0, 0], bounds, 0.75) == pytest.approx(1.5)
    assert quantile([0, 0, 0, 5], bounds, 0.5) == 4.0
    assert quantile([0, 0, 0, 0], bounds, 0.5) is None
    assert above([10, 10, 0, 3], bounds, 1.5) == pytest.approx(8)
    assert above([10, 10, 0, 3], bounds, 9.0) == 0


@pytest.mark.parametrize(
    ("hits", "trials", "share"), [(3, 10, 0.1), (1, 1, 0.01), (5, 400, 0.01), (0, 5, 0.5), (6, 5, 0.5)]
)
def test_the_binomial_tail_is_the_sum_of_its_terms(hits: int, trials: int, share: float) -> None:
    exact = sum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(hits, trials + 1))
    assert binomial_tail(hits, trials, share) == pytest.approx(exact, rel=1e-9)
