"""Who may go in, on generated histories: two domains with bulkheads before one server with a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.resilience import Shedding
from gateway.http1 import admission
from gateway.http1.admission import Door, Stay
from gateway.meter import Meter
from gateway.policies.bulkhead import Compartment
from gateway.policies.retry import Cause
from gateway.policies.shedding import Limiter
from tests.unit.gateway.clock import Clock

LEAST, MOST = 2, 6


@dataclass(eq=False)
class Guest:
    """What a door sees of an exchange."""

    door: Door
    inside: list[Guest]
    read: bool = True
    has_fallback: bool = False
    has_waited: bool = False
    queue: Any = None
    stay: Stay | None = None
    waited: bool = False
    refused: Cause | None = None
    touched: float = 0.0
    gateway: Any = field(default_factory=lambda: SimpleNamespace(now=0.0))
    body: Any = field(default_factory=lambda: SimpleNamespace(done=True))

    def arrive(self) -> Guest:
        self.on_place()
        self.waited = self.queue is not None
        return self

    def on_place(self) -> None:
        self.queue = None
        if self.door.enter(self):  # type: ignore[arg-type]
            self.inside.append(self)

    def leave(self) -> None:
        self.inside.remove(self)
        assert self.stay is not None
        self.stay.leave()


@pytest.fixture(autouse=True)
def _refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "recover", lambda guest, cause: setattr(guest, "refused", cause))


class House:
    def __init__(self, places: int, queue: int) -> None:
        self.limiter = Limiter(Shedding(least=LEAST, most=MOST), Clock())
        self.limiter.limit = float(MOST)
        self.doors = [Door(name, Compartment(places, queue), self.limiter, Meter()) for name in ("one", "other")]
        self.inside: list[Guest] = []

    def guest(self, door: int = 0, **kind: bool) -> Guest:
        return Guest(self.doors[door], self.inside, **kind).arrive()


def test_a_moment_at_the_limit_refuses_nobody_who_waits() -> None:
    house = House(places=4, queue=10)
    inside = [house.guest() for _ in range(4)]
    queue = [house.guest() for _ in range(5)]
    house.limiter.limit = 2.0
    inside.pop(0).leave()
    assert [guest.refused for guest in queue] == [None] * 5
    assert house.guest().refused is Cause.SHED, "who comes now is"
    inside.pop(0).leave()
    assert all(guest.queue is not None for guest in queue)
    inside.pop(0).leave()
    assert [guest in house.inside for guest in queue] == [True, False, False, False, False], "the first one goes first"
    house.limiter.limit = 6.0
    inside.pop(0).leave()
    assert [guest in house.inside for guest in queue] == [True, True, True, True, False]


def test_who_waits_is_told_when_another_domain_leaves_the_server() -> None:
    house = House(places=2, queue=10)
    mine, others = [house.guest() for _ in range(2)], [house.guest(1) for _ in range(2)]
    waiting = house.guest()
    house.limiter.limit = 2.0
    mine[0].leave()
    mine[1].leave()
    assert waiting.queue is not None, "nobody of its own domain is inside any more"
    others[0].leave()
    assert waiting in house.inside


def test_a_write_is_not_kept_back_by_a_read_that_the_limit_keeps_back() -> None:
    house = House(places=5, queue=10)
    inside = [house.guest() for _ in range(5)]
    read, write = house.guest(), house.guest(read=False)
    house.limiter.limit = 4.0
    inside[0].leave()
    assert (read.queue is not None, write in house.inside) == (True, True)


def test_reads_that_legacy_can_answer_go_there_one_for_each_that_leaves() -> None:
    house = House(places=4, queue=10)
    inside = [house.guest() for _ in range(4)]
    queue = [house.guest(has_fallback=True) for _ in range(3)]
    house.limiter.limit = 2.0
    inside[0].leave()
    assert [guest.refused for guest in queue] == [Cause.SHED, None, None]
    inside[1].leave()
    assert [guest.refused for guest in queue] == [Cause.SHED, Cause.SHED, None]


events = st.tuples(
    st.sampled_from(["come", "come", "come", "leave", "leave", "forget"]),
    st.integers(0, 1),  # door
    st.booleans(),  # read
    st.booleans(),  # has a fallback
    st.booleans(),  # was promised an answer
    st.integers(0, 50),  # who
    st.floats(LEAST, MOST),  # the limit, as it has become
)


@given(st.integers(1, 4), st.integers(0, 4), st.lists(events, max_size=150))
def test_bounds_hold_nobody_is_forgotten_and_nobody_who_waits_is_shed(
    places: int, queue: int, history: list[tuple[str, int, bool, bool, bool, int, float]]
) -> None:
    house = House(places, queue)
    waiting: list[Guest] = []
    for what, door, read, fallback, promised, who, limit in history:
        match what:
            case "come":
                guest = house.guest(door, read=read, has_fallback=read and fallback, has_waited=promised)
                if guest.queue is not None:
                    waiting.append(guest)
                elif guest.refused is Cause.SHED:
                    assert not house.limiter.has_room(read=read, promised=promised)
            case "leave" if house.inside:
                house.limiter.limit = limit
                house.inside[who % len(house.inside)].leave()
            case "forget" if waiting:
                guest = waiting[who % len(waiting)]
                guest.queue.forget(guest)
                guest.queue = None
                waiting.remove(guest)
        for guest in waiting:
            assert guest.queue is not None or guest in house.inside or guest.has_fallback or guest.refused is None
            assert guest.refused is None or guest.has_fallback, "it had waited for its turn"
        waiting = [guest for guest in waiting if guest.queue is not None]
        check(house, waiting, promised=any(guest.has_waited for guest in house.inside))
    house.limiter.limit = float(MOST)
    while house.inside:
        house.inside[0].leave()
    assert not any(guest.queue is not None for guest in waiting), "everybody's turn has come"
    assert house.limiter.in_flight == 0
    assert [door.compartment.in_flight for door in house.doors if door.compartment is not None] == [0, 0]


def check(house: House, waiting: list[Guest], *, promised: bool) -> None:
    assert house.limiter.in_flight == len(house.inside)
    for door in house.doors:
        compartment = door.compartment
        assert compartment is not None
        mine = [guest for guest in waiting if guest.door is door]
        assert compartment.in_flight == sum(guest.door is door for guest in house.inside) <= compartment.most
        assert compartment.waiting == len(mine)
        if compartment.in_flight < compartment.most:
            could = [g for g in mine if house.limiter.has_room(read=g.read, promised=g.has_waited)]
            assert not could, "nobody waits who could go in"
