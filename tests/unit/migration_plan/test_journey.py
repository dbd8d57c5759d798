"""Which step follows which."""

from __future__ import annotations

import pytest

from migration_plan.errors import NameUnknown, Refused
from migration_plan.journey import (
    LEGACY,
    RETIRED,
    SERVICE,
    SHADOW,
    Move,
    Stand,
    advance,
    complete,
    rollback,
    stations,
    switch,
)

STEPS = (10, 50)
AT_10, AT_50 = Stand("canary", 10), Stand("canary", 50)


def test_the_way_goes_through_shadow_and_every_canary_step() -> None:
    assert stations(STEPS) == (LEGACY, SHADOW, AT_10, AT_50, SERVICE)


@pytest.mark.parametrize(
    ("now", "after"), [(LEGACY, SHADOW), (SHADOW, AT_10), (AT_10, AT_50), (Stand("canary", 25), AT_50)]
)
def test_advance_takes_the_next_station(now: Stand, after: Stand) -> None:
    assert advance(now, STEPS).after == after


def test_advance_leaves_the_writes_to_switch() -> None:
    for to in (None, "service"):
        with pytest.raises(Refused, match="use `banyan switch`"):
            advance(AT_50, STEPS, to)


def test_advance_at_the_end_has_nothing_to_do() -> None:
    assert advance(SERVICE, STEPS).nothing


def test_advance_to_a_percentage() -> None:
    assert advance(AT_10, STEPS, "25%").after == Stand("canary", 25)
    assert advance(AT_10, STEPS, "10").nothing


def test_advance_to_where_it_stands_is_nothing() -> None:
    assert advance(AT_50, STEPS, "canary").nothing
    assert advance(SHADOW, STEPS, "shadow").nothing


def test_advance_does_not_skip_shadow() -> None:
    with pytest.raises(Refused, match="take it to shadow first"):
        advance(LEGACY, STEPS, "10")


def test_advance_does_not_go_back() -> None:
    with pytest.raises(Refused, match="use `banyan rollback --to shadow`"):
        advance(AT_10, STEPS, "shadow")


@pytest.mark.parametrize("name", ["servcie", "0", "101"])
def test_an_unknown_phase_is_told_so(name: str) -> None:
    with pytest.raises(NameUnknown):
        advance(SHADOW, STEPS, name)


def test_nothing_is_retired_by_advance() -> None:
    with pytest.raises(Refused, match="no way back"):
        advance(SERVICE, STEPS, "retired")


@pytest.mark.parametrize("now", [LEGACY, SHADOW, AT_10])
def test_a_switch_follows_the_last_canary_step(now: Stand) -> None:
    with pytest.raises(Refused, match="advance first"):
        switch(now, STEPS)


def test_a_switch_takes_the_writes_to_the_service_once() -> None:
    assert switch(AT_50, STEPS).after == SERVICE
    assert switch(AT_50, STEPS).switches
    assert switch(SERVICE, STEPS).nothing


@pytest.mark.parametrize(
    ("now", "after"), [(SERVICE, AT_50), (AT_50, SHADOW), (AT_10, SHADOW), (SHADOW, LEGACY), (LEGACY, LEGACY)]
)
def test_rollback_takes_one_phase_back(now: Stand, after: Stand) -> None:
    assert rollback(now, STEPS).after == after


@pytest.mark.parametrize("to", ["legacy", "shadow", "canary", "10"])
def test_rollback_from_the_service_switches_whatever_the_target(to: str) -> None:
    assert rollback(SERVICE, STEPS, to).switches


def test_rollback_does_not_go_forward() -> None:
    with pytest.raises(Refused, match="lies ahead"):
        rollback(SHADOW, STEPS, "service")


def test_there_is_a_way_back_from_every_station() -> None:
    for stand in stations(STEPS):
        now = stand
        for _ in range(10):
            now = rollback(now, STEPS).after
        assert now == LEGACY


def test_a_domain_is_completed_at_its_service_only_and_stays_so() -> None:
    assert complete(SERVICE) == Move(SERVICE, RETIRED)
    assert complete(RETIRED).nothing
    with pytest.raises(Refused, match="use `banyan switch` first"):
        complete(AT_50)
    with pytest.raises(Refused, match="no way back"):
        rollback(RETIRED, STEPS)
