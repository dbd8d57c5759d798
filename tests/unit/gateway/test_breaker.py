"""When a side is spared, and how it gets its calls back."""

from __future__ import annotations

from gateway.control.resilience import Breaker as Rule
from gateway.policies.breaker import Breaker
from tests.unit.gateway.clock import Clock


def make_breaker(clock: Clock, heard: list[str]) -> Breaker:
    return Breaker(
        "d", "service", rule=Rule(failures=3), reset=5, on_change=lambda *told: heard.append(told[2]), clock=clock
    )


def test_a_breaker_opens_after_failures_in_a_row_and_only_then() -> None:
    heard: list[str] = []
    breaker = make_breaker(Clock(), heard)
    for _ in range(3):
        breaker.failure()
        breaker.failure()
        breaker.success()
    assert breaker.closed
    for _ in range(3):
        breaker.failure()
    assert not breaker.closed
    assert not breaker.admit()
    assert heard == ["open"]


def test_an_open_breaker_lets_one_probe_through_and_closes_when_it_succeeds() -> None:
    clock, heard = Clock(), list[str]()
    breaker = make_breaker(clock, heard)
    for _ in range(3):
        breaker.failure()
    clock.now += 5
    assert breaker.usable()
    assert breaker.admit()
    assert not breaker.admit(), "the second request does not probe"
    breaker.success()
    assert breaker.closed
    assert heard == ["open", "half-open", "closed"]


def test_a_probe_that_fails_opens_the_breaker_again() -> None:
    clock, heard = Clock(), list[str]()
    breaker = make_breaker(clock, heard)
    for _ in range(3):
        breaker.failure()
    clock.now += 5
    assert breaker.admit()
    breaker.failure()
    assert not breaker.usable()
    assert heard == ["open", "half-open", "open"]


def test_a_probe_whose_client_left_does_not_block_the_next_one() -> None:
    clock = Clock()
    breaker = make_breaker(clock, [])
    for _ in range(3):
        breaker.failure()
    clock.now += 5
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.admit()


def test_a_late_success_does_not_close_an_open_breaker() -> None:
    breaker = make_breaker(Clock(), [])
    for _ in range(3):
        breaker.failure()
    breaker.success()
    assert not breaker.closed


def test_a_service_that_is_healthy_again_is_probed_at_once() -> None:
    breaker = make_breaker(Clock(), [])
    for _ in range(3):
        breaker.failure()
    breaker.recovered()
    assert breaker.admit()
