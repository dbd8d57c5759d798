"""Who waits during a hold, how many, and how long."""

from __future__ import annotations

from collections.abc import Callable

from gateway.policies.hold import HoldRoom
from gateway.policies.holds import Holds
from tests.unit.gateway.clock import Clock
from tests.unit.gateway.tables import table, wave


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


class Broken(Waiter):
    def release(self) -> None:
        raise RuntimeError("release")

    def refuse(self) -> None:
        raise RuntimeError("refuse")


def test_one_that_fails_keeps_nobody_in_the_room() -> None:
    room, late, patient, last = Room(), Waiter(), Waiter(), Waiter()
    now = room.clock.now
    assert room.room.enter(Broken(), now + 1, 10, ask_after=0.02)
    assert room.room.enter(Broken(), now + 0.01, 10)
    assert room.room.enter(late, now + 0.01, 10)
    assert room.room.enter(patient, now + 1, 10)
    room.tick(0.03)
    assert late.told == ["refused"]
    room.tick(1)
    assert patient.told == ["refused"], "its clock goes on"
    assert room.room.enter(Broken(), room.clock.now + 1, 10)
    assert room.room.enter(last, room.clock.now + 1, 10)
    room.room.wake_all()
    assert last.told == ["released"]
    assert len(room.room) == 0


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


def test_writes_since_the_first_of_two_holds_count_until_nothing_is_held() -> None:
    clock, wall = Clock(), Clock()
    holds = Holds(3, clock, wall)
    assert holds.since("library") == float("inf")
    holds.take(table(wave(hold=True)))
    began = wall.now
    wall.now += 1
    holds.take(table(wave(hold=True, epoch=1)))
    assert holds.since("library") == began
    holds.take(table(wave()))
    assert holds.since("library") == float("inf")
