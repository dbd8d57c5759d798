"""The model looks at every state within its bounds, and finds what is wrong with each mutant of the protocol."""

from __future__ import annotations

import pytest

from migration_plan.model import LARGE, MUTANTS, QUICK, Mutant, explore
from migration_plan.model.explore import TooMany

# As many as there are; fewer would mean that something is not looked at any more.
AT_LEAST = {"gateways": 70_000, "writers": 40_000, "controllers": 70_000}


@pytest.mark.parametrize("world", QUICK)
def test_every_state_keeps_the_invariants_and_can_be_left(world: str) -> None:  # 3 s each: all states of a world
    found = explore(QUICK[world])
    assert found.problem is None, str(found)
    assert found.states >= AT_LEAST[world]
    assert found.settled > 1_000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_promise_is_found_by_a_short_trace(mutant: Mutant) -> None:
    found = mutant.explore()
    assert found.problem is not None, f"nobody noticed: {mutant.what}"
    assert found.problem.startswith(mutant.broken), str(found)
    assert len(found.trace) <= 25


def test_a_mutant_s_bounds_are_well_without_the_mutation() -> None:
    for limits in {mutant.limits for mutant in MUTANTS}:
        found = explore(limits)
        assert found.problem is None, str(found)


def test_bounds_that_allow_too_much_are_refused_rather_than_half_looked_at() -> None:
    with pytest.raises(TooMany):
        explore(QUICK["gateways"], most=100)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", LARGE)
def test_the_larger_bounds_too(world: str) -> None:
    found = explore(LARGE[world])
    assert found.problem is None, str(found)
