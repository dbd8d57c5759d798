"""Breaker, hold room, pins, retries and the budget, with a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.policies.breaker import Breaker
from gateway.policies.budget import RetryBudget
from gateway.policies.hold import HoldRoom
from gateway.policies.holds import Holds
from gateway.policies.pins import PinBoard
from gateway.policies.retry import Attempt, Cause, Step, next_step
from tests.unit.gateway.tables import table, wave


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_breaker(clock: Clock, heard: list[str]) -> Breaker:
    return Breaker(
        "d", "service", fail_max=3, reset_timeout=5, on_change=lambda *told: heard.append(told[2]), clock=clock
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


class Waiter:
    def __init__(self) -> None:
        self.told: list[str] = []

    def release(self) -> None:
        self.told.append("released")

    def refuse(self) -> None:
        self.told.append("refused")


class Room:
    """A hold room whose timer the test turns."""

    def __init__(self, **limits: int) -> None:
        self.clock = Clock()
        self.timers: list[Callable[[], None]] = []
        self.room = HoldRoom(self.clock, lambda _, callback: self.timers.append(callback), **limits)

    def tick(self, seconds: float) -> None:
        self.clock.now += seconds
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()


def test_a_held_request_is_released_or_refused_never_both() -> None:
    room, waiter = Room(), Waiter()
    assert room.room.enter(waiter, room.clock.now + 1, 10)
    room.tick(0.5)
    assert waiter.told == []
    room.room.wake_all()
    room.tick(5)
    assert waiter.told == ["released"]
    other = Waiter()
    assert room.room.enter(other, room.clock.now + 1, 10)
    room.tick(1)
    room.room.wake_all()
    assert other.told == ["refused"]


def test_a_request_that_asks_again_is_released_when_its_time_comes() -> None:
    room, waiter = Room(), Waiter()
    assert room.room.enter(waiter, room.clock.now + 1, 10, ask_after=0.02)
    room.tick(0.03)
    assert waiter.told == ["released"]
    assert room.timers == [], "an empty room does not tick"


def test_the_room_is_bounded_in_count_and_bytes() -> None:
    room = Room(most=2, most_bytes=100)
    deadline = room.clock.now + 1
    assert room.room.enter(Waiter(), deadline, 60)
    assert not room.room.enter(Waiter(), deadline, 60)
    leaver = Waiter()
    assert room.room.enter(leaver, deadline, 40)
    assert not room.room.enter(Waiter(), deadline, 0)
    assert room.room.leave(leaver)
    assert room.room.enter(Waiter(), deadline, 40)


def test_who_has_no_time_left_does_not_enter() -> None:
    room = Room()
    assert not room.room.enter(Waiter(), room.clock.now, 1)


def test_a_hold_ends_by_itself_and_a_table_that_only_repeats_it_adds_no_time() -> None:
    clock = Clock()
    holds = Holds(3, clock)
    holds.take(table(wave(hold=True)))
    assert holds.left("library") == 3
    clock.now += 2
    holds.take(table(wave(hold=True), shadow_percent=50))
    assert holds.left("library") == 1
    clock.now += 2
    assert holds.left("library") < 0


def test_a_hold_that_goes_on_or_begins_anew_has_its_own_time() -> None:
    clock = Clock()
    holds = Holds(3, clock)
    holds.take(table(wave(hold=True)))
    clock.now += 2
    holds.take(table(wave(hold=True, owner="moving", epoch=1)))
    assert holds.left("library") == 3
    clock.now += 2
    holds.take(table(wave()))
    assert holds.left("library") == 0
    holds.take(table(wave(hold=True, owner="moving", epoch=1)))
    assert holds.left("library") == 3


def test_pins_are_seen_by_every_worker_of_the_machine(tmp_path: Path) -> None:
    clock = Clock()
    one, other = PinBoard(tmp_path / "pins", clock), PinBoard(tmp_path / "pins", clock)
    assert other.quiet()
    one.record("d", [b"me"])
    assert other.pinned("d", "legacy", [b"nobody", b"me"])
    assert not other.pinned("e", "legacy", [b"me"])
    clock.now += 2
    assert not other.pinned("d", "legacy", [b"me"]), "blind pins last two seconds"


def test_a_write_of_nobody_known_pins_its_whole_domain_and_no_other() -> None:
    board = PinBoard(clock=Clock())
    board.record("d", [])
    assert board.pinned("d", "legacy", [b"me"])
    assert board.pinned("d", "legacy", [])
    assert not board.pinned("e", "legacy", [b"me"])


def test_a_write_of_a_known_client_leaves_the_others_alone() -> None:
    board = PinBoard(clock=Clock())
    board.record("d", [b"me"])
    assert not board.pinned("d", "legacy", [b"other"])
    assert not board.pinned("d", "legacy", [])


def test_a_pin_lasts_until_the_watermark_has_passed() -> None:
    clock = Clock()
    board = PinBoard(clock=clock)
    board.record("d", [b"me"])
    board.watermarks = {"d.forward": clock.now - 1, "d.reverse": clock.now + 1}
    clock.now += 10
    assert board.pinned("d", "legacy", [b"me"]), "the service does not have the write yet"
    assert not board.pinned("d", "service", [b"me"]), "legacy has it already"
    clock.now += 30
    assert not board.pinned("d", "legacy", [b"me"]), "but not for ever"


def attempt(cause: Cause, **given: bool) -> Attempt:
    facts = {
        "is_read": False, "idempotent": False, "replayable": True, "has_fallback": False, "time_left": True,
        "fresh_tried": False,
    }  # fmt: skip
    return Attempt(cause, **(facts | given))


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (attempt(Cause.CONNECT), Step.WAIT),
        (attempt(Cause.OPEN), Step.WAIT),
        (attempt(Cause.CONNECT, time_left=False), Step.REFUSE),
        (attempt(Cause.LOST), Step.REFUSE),
        (attempt(Cause.LOST, idempotent=True), Step.WAIT),
        (attempt(Cause.STALE, idempotent=True), Step.AGAIN),
        (attempt(Cause.STALE, idempotent=True, fresh_tried=True), Step.WAIT),
        (attempt(Cause.STALE), Step.REFUSE),
        (attempt(Cause.LOST, idempotent=True, replayable=False), Step.REFUSE),
        (attempt(Cause.TIMEOUT, idempotent=True), Step.REFUSE),
        (attempt(Cause.OVERFLOW), Step.REFUSE),
        (attempt(Cause.TIMEOUT, is_read=True, idempotent=True, has_fallback=True), Step.FALLBACK),
        (attempt(Cause.CONNECT, is_read=True, idempotent=True, has_fallback=True), Step.FALLBACK),
        (attempt(Cause.CONNECT, has_fallback=True), Step.WAIT),
    ],
)
def test_what_follows_a_failure(found: Attempt, step: Step) -> None:
    assert next_step(found) is step


def test_retries_are_a_share_of_the_traffic() -> None:
    clock = Clock()
    budget = RetryBudget(ratio=0.2, floor=2, clock=clock)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(11):
        budget.deposit()
    assert [budget.take() for _ in range(3)] == [True, True, False]
    clock.now += 1
    assert budget.take()
