"""When a side is spared, and how it gets its calls back."""

from __future__ import annotations

from gateway.control.resilience import Breaker as Rule
from gateway.policies.breaker import Breaker
from tests.unit.gateway.clock import Clock

ME, OTHER = "me", "another call"


def make_breaker(clock: Clock, heard: list[str]) -> Breaker:
    return Breaker(
        "d", "service", rule=Rule(failures=3), reset=5, on_change=lambda *told: heard.append(told[2]), clock=clock
    )


def test_a_breaker_opens_after_failures_in_a_row_and_only_then() -> None:
    heard: list[str] = []
    breaker = make_breaker(Clock(), heard)
    for _ in range(3):
        breaker.failure(ME)
        breaker.failure(ME)
        breaker.success(ME)
    assert breaker.closed
    for _ in range(3):
        breaker.failure(ME)
    assert not breaker.closed
    assert not breaker.admit(ME)
    assert heard == ["open"]


def test_an_open_breaker_lets_one_probe_through_and_closes_when_it_succeeds() -> None:
    clock, heard = Clock(), list[str]()
    breaker = make_breaker(clock, heard)
    for _ in range(3):
        breaker.failure(ME)
    clock.now += 5
    assert breaker.usable()
    assert breaker.admit(ME)
    assert not breaker.admit(OTHER), "the second request does not probe"
    breaker.success(ME)
    assert breaker.closed
    assert heard == ["open", "half-open", "closed"]


def test_a_probe_that_fails_opens_the_breaker_again() -> None:
    clock, heard = Clock(), list[str]()
    breaker = make_breaker(clock, heard)
    for _ in range(3):
        breaker.failure(ME)
    clock.now += 5
    assert breaker.admit(ME)
    breaker.failure(ME)
    assert not breaker.usable()
    assert heard == ["open", "half-open", "open"]


def test_a_probe_whose_client_left_does_not_block_the_next_one() -> None:
    clock = Clock()
    breaker = make_breaker(clock, [])
    for _ in range(3):
        breaker.failure(ME)
    clock.now += 5
    assert breaker.admit(ME)
    breaker.abandoned(ME)
    assert breaker.admit(OTHER)


def test_a_late_success_does_not_close_an_open_breaker() -> None:
    breaker = make_breaker(Clock(), [])
    for _ in range(3):
        breaker.failure(ME)
    breaker.success(ME)
    assert not breaker.closed


def test_a_service_that_is_healthy_again_is_probed_at_once() -> None:
    breaker = make_breaker(Clock(), [])
    for _ in range(3):
        breaker.failure(ME)
    breaker.recovered()
    assert breaker.admit(ME)


def probing(clock: Clock, heard: list[str]) -> Breaker:
    """Half open, and the probe is mine."""
    breaker = make_breaker(clock, heard)
    for _ in range(3):
        breaker.failure(OTHER)
    clock.now += 5
    assert breaker.admit(ME)
    return breaker


def test_a_call_that_is_not_the_probe_neither_frees_its_place_nor_decides_for_it() -> None:
    heard = list[str]()
    breaker = probing(Clock(), heard)
    breaker.abandoned(OTHER)
    breaker.success(OTHER)
    breaker.failure(OTHER)
    assert not breaker.admit("a third")
    assert heard == ["open", "half-open"]
    breaker.success(ME)
    assert breaker.closed


def test_a_probe_that_is_tried_again_keeps_its_place() -> None:
    breaker = probing(Clock(), [])
    assert breaker.admit(ME)
    assert not breaker.admit(OTHER)


def test_a_probe_that_is_given_up_for_lost_decides_nothing_when_it_comes_back() -> None:
    clock, heard = Clock(), list[str]()
    breaker = probing(clock, heard)
    clock.now += 5.1
    assert breaker.admit(OTHER)
    breaker.success(ME)
    breaker.failure(ME)
    assert heard == ["open", "half-open"]
    breaker.failure(OTHER)
    assert heard == ["open", "half-open", "open"]
