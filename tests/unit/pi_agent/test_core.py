"""The agent without I/O against two scripted backends: trials, fences, acks and their way, with time by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pi_agent.activity import NEVER
from pi_agent.config import Battery, Config, Timing
from pi_agent.core import Core
from pi_agent.drivers.simulated import SimulatedBattery
from pi_agent.errors import Unreachable
from pi_agent.exchange import Request, Response, play
from pi_agent.journal import Journal
from pi_agent.memory import MemoryJournal

NOON = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
TIMING = Timing(trial_s=30, trial_successes=2, trial_pause_s=1, v2_retreat_s=100, v2_retreat_cap_s=100, poll_s=10,
                ack_spread_s=0, flags_s=10, relay_s=60, backoff_cap_s=2)  # fmt: skip


class FakeClock:
    def __init__(self) -> None:
        self.wall, self.elapsed = NOON, 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed

    def pass_time(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.elapsed += seconds


@dataclass
class Side:
    """A backend: its schedule's version, its commands, its epoch; `fault` gives an answer instead."""

    version: int = 1
    power_w: int = 1000
    epoch: int | None = None
    commands: list[dict[str, Any]] = field(default_factory=list)
    fault: Callable[[Request], Response | None] = lambda request: None
    acks: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0


class World:
    """Both sides, the flag, and one agent that lives through `seconds` of time in steps of a second."""

    def __init__(self) -> None:
        self.clock, self.journal = FakeClock(), MemoryJournal()
        self.legacy, self.v2, self.flag = Side(), Side(epoch=1), "legacy"
        self.config = Config(7, "secret", "http://gateway", Path("/nowhere"), flags_url="http://flags", timing=TIMING)
        self.boot()

    def boot(self, journal: Journal | None = None) -> None:
        battery = SimulatedBattery(Battery(), None, self.clock, 3)
        journal = journal or self.journal
        self.core = Core(self.config, journal, battery, self.clock, lambda low, high: high, lambda step: None)
        self.core.start()

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.pass_time(1)
            self.core.control()
            for activity in self.core.activities:
                while activity.due <= self.clock.monotonic():
                    play(self.core.run(activity), self.answer)

    def answer(self, request: Request) -> Response:
        if request.to == "flags":
            flags = {"flags": [{"key": "device-backend", "value": self.flag}]}
            return Response(200, {}, json.dumps(flags).encode())
        side = self.legacy if request.to == "gateway" else self.v2
        side.asked += 1
        fault = side.fault(request)
        if fault is not None:
            if fault.status == 0:
                raise Unreachable("timed out")
            return fault
        headers = {} if side.epoch is None else {"banyan-assignment-epoch": str(side.epoch)}
        return Response(200, headers, json.dumps(self.say(request, side)).encode())

    def say(self, request: Request, side: Side) -> dict[str, Any]:
        body: Any = request.body
        if request.method == "PUT":
            return {"kept": True, "clock_skew_ms": 0}
        if request.method == "POST":
            side.acks += [(a["ref"], a["state"]) for a in (body["acks"] if side is self.v2 else [body])]
            return {}
        if side is self.legacy:
            slots: Any = f"0000-2400 C{side.power_w}"
        else:
            slots = [{"from": "00:00", "to": "24:00", "mode": "charge", "power_w": side.power_w}]
        epoch = {} if side.epoch is None else {"assignment_epoch": side.epoch}
        return {"device_id": 7, "version": side.version, "slots": slots, "commands": side.commands} | epoch

    @property
    def phase(self) -> str:
        return self.core.assignment.phase


@pytest.fixture
def world() -> World:
    return World()


def v2_command(ref: str, epoch: int, at: datetime = NOON) -> dict[str, Any]:
    times = {"issued_at": at.isoformat(), "expires_at": (at + timedelta(minutes=15)).isoformat()}
    return {"ref": ref, "mode": "discharge", "power_w": 300, "assignment_epoch": epoch, "supersedes": None, **times}


def legacy_command(ref: str, at: datetime = NOON) -> dict[str, Any]:
    local = at + timedelta(hours=2)
    times = {"issued": f"{local:%Y-%m-%dT%H:%M:%S}", "expires": f"{local + timedelta(minutes=15):%Y-%m-%dT%H:%M:%S}"}
    return {"ref": ref, "mode": "D", "power_w": 300, **times}


def test_a_good_candidate_takes_over_after_its_trial_and_the_schedule_goes_on_all_the_time(world: World) -> None:
    world.live(12)
    ref = world.core.controller.view.decision.setpoint.ref
    world.flag = "v2"
    for _ in range(14):
        world.live(1)
        assert world.core.controller.view.applied.ref == ref
        assert world.core.controller.view.applied.power_w == 1000
    assert world.phase == "v2"
    assert world.core.assignment.epoch == 1
    asked = world.legacy.asked
    world.live(30)
    assert world.legacy.asked == asked, "one backend commands"


FAULTS: dict[str, tuple[Callable[[Request], Response | None], str]] = {
    "dead": (lambda request: Response(0), "handshake: timed out"),
    "refuses the token": (lambda request: Response(401), "auth: answered 401"),
    "another's device": (lambda request: Response(403), "auth: answered 403"),
    "500": (lambda request: Response(500), "schedule: answered 500"),
    "no JSON": (lambda request: Response(200, {}, b"<html>"), "schedule: the body is not JSON"),
    "nothing but 304": (lambda request: Response(304), "schedule: it has no schedule"),
    "another device's schedule": (
        lambda request: Response(200, {}, b'{"device_id": 8, "version": 1, "slots": []}'),
        "schedule: the schedule cannot be read: ValueError it is the schedule of device 8",
    ),
    "an older schedule": (
        lambda request: Response(200, {}, b'{"device_id": 7, "version": 0, "slots": []}'),
        "schedule: it has schedule 0, the battery runs 1",
    ),
    "other slots": (
        lambda request: Response(200, {}, b'{"device_id": 7, "version": 1, "slots": []}'),
        "schedule: it has other slots under the same version 1",
    ),
    "takes no acks": (lambda request: Response(500) if request.method == "POST" else None, "ack: answered 500"),
    "refuses acks": (lambda request: Response(422) if request.method == "POST" else None, "ack: it refuses a good ack"),
    "is behind": (
        lambda request: Response(409, {}, b'{"type": "urn:banyan:stale-assignment", "epoch": 0}'),
        "schedule: answered 409",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_candidate_never_takes_over_and_is_tried_again_when_it_is_well(world: World, name: str) -> None:
    fault, reason = FAULTS[name]
    world.live(12)
    world.v2.fault, world.flag = fault, "v2"
    world.legacy.commands = [legacy_command("cmd-1")]
    world.live(30)
    assert (world.phase, world.core.assignment.reason) == ("reverted", reason)
    assert ("cmd-1", "S") in world.legacy.acks, "legacy commands all the while"
    assert not [a for a in world.v2.acks if a[0] == "cmd-1"]
    world.v2.fault = lambda request: None
    world.live(220)
    assert world.phase == "v2"


def test_commands_of_a_candidate_are_not_obeyed_before_it_is_in_charge(world: World) -> None:
    world.live(12)
    world.v2.commands = [v2_command("early", 1)]
    world.v2.fault = lambda request: Response(500) if request.method == "POST" else None
    world.flag = "v2"
    world.live(30)
    assert world.phase == "reverted"
    assert world.journal.state_of("early") is None


def test_a_candidate_that_is_slow_is_given_up_at_the_deadline(world: World) -> None:
    world.live(12)
    world.flag, world.v2.fault = "v2", lambda request: _wait(world, 10)
    for _ in range(60):
        world.live(1)
    assert (world.phase, world.core.assignment.reason) == ("reverted", "not done within its time")


def _wait(world: World, seconds: float) -> None:
    """The answer comes after this; the battery is controlled meanwhile."""
    for _ in range(int(seconds)):
        world.clock.pass_time(1)
        world.core.control()


def test_a_restart_during_a_trial_is_a_failed_trial(world: World) -> None:
    world.live(12)
    world.flag = "v2"
    while world.core.assignment.trial is None:
        world.live(1)
        world.v2.fault = lambda request: Response(200) if world.core.assignment.trial is None else None
    world.boot()
    assert (world.phase, world.core.assignment.reason) == ("reverted", "the agent was restarted during the trial")
    assert world.core.assignment.primary == "legacy"


def test_the_flag_back_to_legacy_takes_effect_at_once_whatever_v2_does(world: World) -> None:
    world.flag = "v2"
    world.live(40)
    assert world.phase == "v2"
    world.v2.fault = lambda request: Response(0)
    world.flag = "legacy"
    world.live(11)
    assert world.phase == "legacy"
    asked = world.v2.asked
    world.live(200)
    assert world.v2.asked <= asked + 10, "only what it issued is still told to it, until the relay takes over"


def test_a_document_of_a_lower_epoch_is_not_acted_upon(world: World) -> None:
    world.flag, world.v2.epoch = "v2", 5
    world.live(40)
    assert world.core.assignment.epoch == 5
    world.v2.epoch, world.v2.version, world.v2.power_w = 4, 9, 1
    world.live(40)
    assert world.core.controller.schedule_version == 1
    assert (world.phase, world.core.assignment.reason) == ("reverted", "its epoch is 4, the battery has seen 5")


def test_a_command_of_a_lower_epoch_is_not_obeyed(world: World) -> None:
    world.flag, world.v2.epoch = "v2", 5
    world.live(40)
    now = world.clock.now()
    world.v2.commands = [v2_command("stale", 4, now), v2_command("good", 5, now)]
    world.live(12)
    assert world.journal.state_of("stale") is None
    assert ("good", "succeeded") in world.v2.acks


def test_acks_go_to_the_issuer_and_by_the_relay_when_it_is_gone(world: World) -> None:
    world.flag = "v2"
    world.live(40)
    world.v2.commands = [v2_command("cmd-1", 1, world.clock.now())]
    world.v2.fault = lambda request: Response(0) if request.method == "POST" else None
    world.live(12)
    assert ("cmd-1", "succeeded") not in world.v2.acks
    world.v2.fault, world.flag = lambda request: Response(0), "legacy"
    world.live(30)
    assert world.phase == "legacy"
    assert ("cmd-1", "S") not in world.legacy.acks, "not yet: the issuer may come back"
    world.live(90)
    assert ("cmd-1", "S") in world.legacy.acks
    assert world.journal.counts().pending == 0


def test_an_issuer_that_comes_back_gets_its_acks_itself(world: World) -> None:
    world.flag = "v2"
    world.live(40)
    world.v2.commands = [v2_command("cmd-1", 1, world.clock.now())]
    world.v2.fault = lambda request: Response(0) if request.method == "POST" else None
    world.live(12)
    world.flag = "legacy"
    world.live(20)
    world.v2.fault = lambda request: None
    world.live(20)
    assert ("cmd-1", "succeeded") in world.v2.acks
    assert not [a for a in world.legacy.acks if a[0] == "cmd-1"]


def test_polls_that_are_kept_waiting_follow_each_other_at_once_and_others_at_their_interval(world: World) -> None:
    world.flag = "v2"
    world.live(40)
    asked = world.v2.asked
    world.live(20)
    assert world.v2.asked - asked <= 3
    world.v2.fault = lambda request: (
        Response(304, {"preference-applied": "wait=20"}) if request.method == "GET" else None
    )
    world.live(10)
    asked = world.v2.asked
    world.live(20)
    assert world.v2.asked - asked in (20, 21), "each second: not closer together"


def test_what_happens_off_line_for_weeks_is_told_when_the_backend_is_back(world: World) -> None:
    world.live(30)
    told = len(world.legacy.acks)
    world.legacy.fault = lambda request: Response(0)
    for _ in range(21):
        world.clock.pass_time(86_400)
        world.core.control()
        world.live(1)
    assert world.core.controller.view.decision.reason == "off line for too long"
    world.legacy.fault = lambda request: None
    world.live(120)
    days = {ref for ref, _ in world.legacy.acks[told:] if ref.startswith("slot-v1-")}
    assert len(days) == 7, "until the seventh day, and on the day on which it was heard of again"
    assert world.journal.counts().pending == 0


def test_nothing_is_due_that_nobody_asked_for(world: World) -> None:
    assert world.core.trial.due == NEVER
    assert world.core.acks.due == NEVER


def test_after_a_restart_it_asks_for_news_and_not_for_what_it_has(world: World) -> None:
    asked: list[str | None] = []

    def tagged(request: Request) -> Response | None:
        if request.method != "GET":
            return None
        asked.append(request.headers.get("If-None-Match"))
        return Response(200, {"etag": '"x"'}, json.dumps(world.say(request, world.v2)).encode())

    world.flag, world.v2.fault = "v2", tagged
    world.live(40)
    world.boot()
    before = len(asked)
    world.live(12)
    assert asked[before] == '"x"'
    world.flag = "legacy"
    world.live(20)
    assert world.core._etag is None, "one backend's tag says nothing to another"
