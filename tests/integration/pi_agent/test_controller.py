"""The control period over a real SQLite journal, with clocks and a battery that the test owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pi_agent.config import Battery
from pi_agent.controller import READING_VALID_S, Controller, Guards
from pi_agent.errors import AgentError, DriverError
from pi_agent.journal import Step
from pi_agent.model import Ack, AckState, Command, Document, Mode, Reading, Schedule, Setpoint, Slot
from pi_agent.store import KEEP_SETTLED, MAX_PENDING, Store
from pi_agent.timekeeping import Timekeeper

NOON = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)  # 12:00 in Amsterdam
ALL_DAY = Schedule(3, (Slot(0, 1440, Mode.CHARGE, 2000),))
ALL_DAY_REF = "slot-v3-20260601-0000"


class FakeClock:
    def __init__(self, wall: datetime = NOON) -> None:
        self.wall, self.elapsed = wall, 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed

    def pass_time(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.elapsed += seconds


@dataclass
class FakeBattery:
    """Remembers what it was told; fails when told to."""

    soc: float = 0.5
    taken: list[Setpoint | str] = field(default_factory=list)
    ref: str = ""
    broken: bool = False
    complaint: str = "overheated"
    blind: bool = False

    def read(self) -> Reading:
        if self.blind:
            raise DriverError("no answer")
        return Reading(self.soc, 0.0, self.ref)

    def apply(self, setpoint: Setpoint) -> None:
        if self.broken:
            raise DriverError(self.complaint)
        self.taken.append(setpoint)
        self.ref = setpoint.ref

    def safe(self) -> None:
        self.taken.append("safe")

    def close(self) -> None:
        pass

    def refs(self) -> list[str]:
        """The refs in force one after the other, renewals left out."""
        refs = [t if isinstance(t, str) else t.ref for t in self.taken]
        return [ref for ref, before in zip(refs, [None, *refs], strict=False) if ref != before]


@dataclass
class Bench:
    """A controller on a journal, and what it takes to kill it and start the next."""

    path: Path
    clock: FakeClock = field(default_factory=FakeClock)
    battery: FakeBattery = field(default_factory=FakeBattery)
    limits: Battery = field(default_factory=lambda: Battery(max_power_w=5000))
    crash_at: str | None = None
    guards: Guards = field(default_factory=Guards)
    timekeeper: Timekeeper = field(default_factory=Timekeeper)

    def __post_init__(self) -> None:
        self.store = Store(self.path)
        self.boot()

    def boot(self) -> None:
        self.controller = Controller(
            self.store, self.battery, self.limits, self.clock, self.checkpoint, self.guards, self.timekeeper
        )
        self.controller.start()

    def checkpoint(self, step: Step) -> None:
        if step.value == self.crash_at:
            self.crash_at = None
            raise Killed(step)

    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.path)
        self.boot()

    def command(self, ref: str, minutes: float = 15, mode: Mode = Mode.DISCHARGE, power_w: int = 800) -> Command:
        return Command(ref, mode, power_w, self.clock.now(), self.clock.now() + timedelta(minutes=minutes))

    def receive(self, *commands: Command, schedule: Schedule = ALL_DAY) -> None:
        self.controller.receive(Document(schedule, commands))

    def receive_and_tick(self, *commands: Command) -> None:
        self.receive(*commands)
        self.controller.tick()

    def acks(self) -> list[tuple[str, str]]:
        return [(p.ack.ref, p.ack.state.value) for p in self.store.pending(10_000)]


class Killed(Exception):
    """The process ended here."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "agent.db")
    yield made
    made.store.close()


def test_the_battery_is_safe_before_anything_else_and_holds_without_a_schedule(bench: Bench) -> None:
    assert bench.battery.taken == ["safe"]
    bench.controller.tick()
    assert bench.battery.taken[-1] == Setpoint(Mode.HOLD, 0, "")
    assert bench.acks() == []


def test_a_slot_is_journaled_executed_and_acknowledged_once(bench: Bench) -> None:
    bench.receive()
    for _ in range(3):
        bench.controller.tick()
        bench.clock.pass_time(1)
    assert bench.battery.taken[1:] == [Setpoint(Mode.CHARGE, 2000, ALL_DAY_REF)] * 3
    assert bench.acks() == [("schedule-v3", "delivered"), (ALL_DAY_REF, "succeeded")]


def test_an_older_schedule_is_ignored(bench: Bench) -> None:
    bench.receive()
    bench.receive(schedule=Schedule(2, ()))
    assert bench.controller.schedule_version == 3


def test_a_command_overrides_the_schedule_until_it_expires(bench: Bench) -> None:
    bench.receive(bench.command("cmd-1"))
    bench.controller.tick()
    bench.clock.pass_time(15 * 60 - 1)
    bench.controller.tick()
    bench.clock.pass_time(1)
    bench.controller.tick()
    assert bench.battery.refs() == ["safe", "cmd-1", ALL_DAY_REF]
    assert ("cmd-1", "delivered") in bench.acks()
    assert ("cmd-1", "succeeded") in bench.acks()
    assert ("cmd-1", "expired") not in bench.acks()


def test_a_command_that_comes_too_late_is_refused_and_never_executed(bench: Bench) -> None:
    late = bench.command("late", minutes=-1)
    for _ in range(2):
        bench.receive(late)
        bench.controller.tick()
    assert "late" not in bench.battery.refs()
    assert [a for a in bench.acks() if a[0] == "late"] == [("late", "expired")]


def test_a_command_that_expires_behind_a_newer_one_is_told_so(bench: Bench) -> None:
    older = bench.command("older", minutes=5)
    bench.clock.pass_time(1)
    bench.receive(older, bench.command("newer", minutes=10))
    bench.controller.tick()
    bench.clock.pass_time(6 * 60)
    bench.controller.tick()
    assert bench.battery.refs() == ["safe", "newer"]
    assert ("older", "expired") in bench.acks()


def test_a_wall_clock_set_back_does_not_prolong_a_command(bench: Bench) -> None:
    bench.receive(bench.command("cmd-1", minutes=15))
    bench.controller.tick()
    bench.clock.wall -= timedelta(hours=2)
    bench.clock.pass_time(15 * 60)
    bench.controller.tick()
    assert bench.battery.refs()[-1] == ALL_DAY_REF
    assert bench.controller.view.clock_jumps == 1


def test_a_command_that_expired_by_a_clock_that_was_wrong_stays_expired(bench: Bench) -> None:
    command = bench.command("cmd-1")
    bench.receive(command)
    bench.clock.wall += timedelta(hours=1)
    bench.controller.tick()
    bench.clock.wall -= timedelta(hours=1)
    bench.receive(command)
    bench.controller.tick()
    assert "cmd-1" not in bench.battery.refs()
    assert bench.acks().count(("cmd-1", "expired")) == 1


def test_a_jump_of_the_wall_clock_moves_to_the_slot_of_the_new_time(bench: Bench) -> None:
    bench.receive(schedule=Schedule(4, (Slot(0, 780, Mode.CHARGE, 1000), Slot(780, 1440, Mode.DISCHARGE, 1000))))
    bench.controller.tick()
    bench.clock.wall += timedelta(hours=1)
    bench.controller.tick()
    assert bench.battery.refs() == ["safe", "slot-v4-20260601-0000", "slot-v4-20260601-1300"]


def test_with_a_clock_that_is_not_synchronised_the_battery_holds(bench: Bench) -> None:
    bench.guards = Guards(max_skew_s=300)
    bench.restart()
    bench.receive(bench.command("cmd-1"))
    bench.timekeeper.note_skew(-400, bench.clock.now(), bench.clock.monotonic())
    bench.controller.tick()
    assert bench.battery.taken[-1] == Setpoint(Mode.HOLD, 0, "")
    assert "cmd-1" not in bench.battery.refs()
    assert "ahead" in bench.controller.view.decision.reason


def test_a_clock_that_is_late_within_bounds_does_not_prolong_a_command(bench: Bench) -> None:
    bench.guards = Guards(max_skew_s=300)
    bench.restart()
    bench.timekeeper.note_skew(200, bench.clock.now(), bench.clock.monotonic())
    bench.receive(bench.command("cmd-1", minutes=5))
    bench.controller.tick()
    bench.clock.pass_time(101)
    bench.controller.tick()
    assert bench.battery.refs() == ["safe", "cmd-1", ALL_DAY_REF]


def test_off_line_for_too_long_the_fallback_takes_over_until_a_backend_is_heard_of(bench: Bench) -> None:
    night = (Slot(0, 1440, Mode.HOLD, 0),)
    bench.guards = Guards(stale_s=7 * 86_400, fallback=night)
    bench.restart()
    bench.receive()
    bench.controller.heard_at = NOON
    bench.controller.tick()
    bench.clock.pass_time(7 * 86_400)
    bench.controller.tick()
    assert bench.battery.refs()[-1] == "slot-v3-20260608-0000"
    bench.clock.pass_time(1)
    bench.controller.tick()
    assert bench.battery.refs()[-1] == "fallback-v3-20260608-0000"
    assert ("fallback-v3-20260608-0000", "succeeded") in bench.acks()
    bench.controller.heard_at = bench.clock.now()
    bench.controller.tick()
    assert bench.battery.refs()[-1] == "slot-v3-20260608-0000"


def test_a_schedules_own_fallback_comes_before_the_agents(bench: Bench) -> None:
    given = Schedule(4, (Slot(0, 1440, Mode.CHARGE, 900),), (Slot(0, 1440, Mode.DISCHARGE, 100),), 3600)
    bench.guards = Guards(stale_s=7 * 86_400, fallback=(Slot(0, 1440, Mode.CHARGE, 1),))
    bench.restart()
    bench.receive(schedule=given)
    bench.controller.heard_at = NOON
    bench.clock.pass_time(3601)
    bench.restart()
    bench.controller.heard_at = NOON
    bench.controller.tick()
    assert bench.battery.taken[-1] == Setpoint(Mode.DISCHARGE, 100, "fallback-v4-20260601-0000")


def test_a_command_that_a_limit_forbids_is_rejected_and_the_schedule_goes_on(bench: Bench) -> None:
    bench.battery.soc = 0.02
    bench.receive(bench.command("cmd-1"))
    for _ in range(2):
        bench.controller.tick()
    assert [a for a in bench.acks() if a[0] == "cmd-1"] == [("cmd-1", "delivered"), ("cmd-1", "rejected")]
    assert bench.battery.refs()[-1] == ALL_DAY_REF
    assert "cmd-1" not in bench.battery.refs()
    bench.restart()
    bench.controller.tick()
    assert "cmd-1" not in bench.battery.refs()


def test_without_a_reading_a_command_waits_and_is_not_begun(bench: Bench) -> None:
    bench.battery.blind = True
    bench.receive(bench.command("cmd-1"))
    bench.controller.tick()
    assert ("cmd-1", "succeeded") not in bench.acks()
    assert bench.battery.taken[-1] == Setpoint(Mode.HOLD, 0, "cmd-1")
    bench.battery.blind = False
    bench.controller.tick()
    assert bench.battery.taken[-1] == Setpoint(Mode.DISCHARGE, 800, "cmd-1")
    assert ("cmd-1", "succeeded") in bench.acks()


def test_a_superseded_command_ends_and_does_not_come_back(bench: Bench) -> None:
    bench.receive(bench.command("long", minutes=60))
    bench.controller.tick()
    bench.clock.pass_time(1)
    bench.receive(replace(bench.command("short", minutes=5), supersedes="long"))
    bench.controller.tick()
    bench.clock.pass_time(301)
    bench.controller.tick()
    assert bench.battery.refs() == ["safe", "long", "short", ALL_DAY_REF]


def test_a_command_that_was_taken_back_before_it_began_never_runs(bench: Bench) -> None:
    bench.controller.receive(Document(ALL_DAY, (bench.command("cmd-1"),), complete=True), "v2")
    bench.controller.receive(Document(ALL_DAY, complete=True), "v2")
    bench.controller.tick()
    assert "cmd-1" not in bench.battery.refs()


def test_what_one_backend_does_not_list_another_may_have_ordered(bench: Bench) -> None:
    bench.controller.receive(Document(ALL_DAY, (bench.command("cmd-1"),)), "legacy")
    bench.controller.receive(Document(ALL_DAY, complete=True), "v2")
    bench.controller.tick()
    assert bench.battery.refs()[-1] == "cmd-1"


def test_acks_are_for_whoever_issued_what_they_tell_of(bench: Bench) -> None:
    bench.controller.receive(Document(ALL_DAY), "legacy")
    bench.controller.receive(Document(ALL_DAY, (bench.command("cmd-1"),)), "v2")
    bench.controller.tick()
    bench.clock.pass_time(15 * 60)
    bench.controller.tick()
    told = {(p.ack.ref, p.ack.state.value, p.issuer) for p in bench.store.pending(99)}
    assert told == {
        ("schedule-v3", "delivered", "legacy"),
        ("cmd-1", "delivered", "v2"),
        ("cmd-1", "succeeded", "v2"),
        (ALL_DAY_REF, "succeeded", "legacy"),
    }


def test_a_battery_that_refuses_a_command_is_made_safe_and_the_command_is_over(bench: Bench) -> None:
    bench.receive(bench.command("cmd-1"))
    bench.battery.broken = True
    bench.controller.tick()
    assert bench.battery.taken[-1] == "safe"
    assert bench.controller.view.fault == "overheated"
    bench.battery.broken = False
    bench.controller.tick()
    assert bench.battery.refs()[-1] == ALL_DAY_REF
    assert [a for a in bench.acks() if a[0] == "cmd-1"] == [("cmd-1", "delivered"), ("cmd-1", "failed")]
    bench.restart()
    bench.controller.tick()
    assert "cmd-1" not in bench.battery.refs()


def test_what_the_driver_says_becomes_a_note_of_one_line(bench: Bench) -> None:
    bench.receive()
    bench.battery.broken = True
    bench.battery.complaint = "over\nheated\x00" + "!" * 300
    bench.controller.tick()
    note = bench.store.pending(9)[-1].ack.note
    assert note == ("over heated " + "!" * 300)[:200]


def test_a_slot_is_tried_again_when_the_battery_has_recovered(bench: Bench) -> None:
    bench.receive()
    bench.battery.broken = True
    for _ in range(3):
        bench.controller.tick()
    bench.battery.broken = False
    bench.controller.tick()
    assert bench.battery.refs()[-1] == ALL_DAY_REF
    assert [a for a in bench.acks() if a[0] == ALL_DAY_REF] == [(ALL_DAY_REF, "failed"), (ALL_DAY_REF, "succeeded")]


def test_a_failed_reading_is_no_empty_battery_and_after_a_minute_nothing_flows(bench: Bench) -> None:
    bench.receive()
    bench.controller.tick()
    bench.battery.blind = True
    bench.clock.pass_time(READING_VALID_S / 2)
    bench.controller.tick()
    assert bench.battery.taken[-1] == Setpoint(Mode.CHARGE, 2000, ALL_DAY_REF)
    bench.clock.pass_time(READING_VALID_S)
    bench.controller.tick()
    assert bench.battery.taken[-1] == Setpoint(Mode.HOLD, 0, ALL_DAY_REF)


def test_a_full_battery_is_not_charged_whatever_the_schedule_says(bench: Bench) -> None:
    bench.receive()
    bench.battery.soc = 0.97
    bench.controller.tick()
    assert bench.battery.taken[-1] == Setpoint(Mode.HOLD, 0, ALL_DAY_REF)
    assert bench.store.pending(9)[-1].ack.note == "limited to hold 0 W"


@pytest.mark.parametrize("step", ["received", "intent", "acted", "result"])
def test_killed_at_any_step_a_command_is_acknowledged_once_and_runs_until_its_end(bench: Bench, step: str) -> None:
    command = bench.command("cmd-1")
    bench.crash_at = step
    with pytest.raises(Killed):
        bench.receive_and_tick(command)
    bench.clock.pass_time(60)
    bench.restart()
    bench.receive(command)
    bench.controller.tick()
    assert bench.battery.refs()[-1] == "cmd-1"
    bench.clock.pass_time(15 * 60)
    bench.controller.tick()
    assert bench.battery.refs()[-1] == ALL_DAY_REF
    assert [a for a in bench.acks() if a[0] == "cmd-1"] == [("cmd-1", "delivered"), ("cmd-1", "succeeded")]


@pytest.mark.parametrize(
    ("step", "state"), [("received", "expired"), ("intent", "expired"), ("acted", "succeeded"), ("result", "succeeded")]
)
def test_killed_and_back_after_its_end_a_command_is_never_run_and_its_ack_tells_the_truth(
    bench: Bench, step: str, state: str
) -> None:
    command = bench.command("cmd-1")
    bench.crash_at = step
    with pytest.raises(Killed):
        bench.receive_and_tick(command)
    done = len(bench.battery.taken)
    bench.clock.pass_time(16 * 60)
    bench.restart()
    bench.receive(command)
    bench.controller.tick()
    assert all(t == "safe" or t.ref != "cmd-1" for t in bench.battery.taken[done:])
    assert [a for a in bench.acks() if a[0] == "cmd-1"] == [("cmd-1", "delivered"), ("cmd-1", state)]


def test_a_slot_that_was_not_begun_before_a_kill_and_is_over_is_told_as_failed(bench: Bench) -> None:
    schedule = Schedule(4, (Slot(0, 780, Mode.CHARGE, 1000),))
    bench.crash_at = "intent"
    bench.receive(schedule=schedule)
    with pytest.raises(Killed):
        bench.controller.tick()
    bench.clock.pass_time(2 * 3600)
    bench.restart()
    assert ("slot-v4-20260601-0000", "failed") in bench.acks()


def test_days_without_a_backend_keep_executing_and_the_journal_stays_bounded(bench: Bench) -> None:
    hours = tuple(Slot(h * 60, h * 60 + 60, (Mode.CHARGE, Mode.DISCHARGE)[h % 2], 500) for h in range(24))
    bench.receive(schedule=Schedule(5, hours))
    for _ in range(14 * 24):
        bench.controller.tick()
        bench.clock.pass_time(3600)
    assert len(set(bench.battery.refs())) == 14 * 24 + 1
    assert len(bench.acks()) == 14 * 24 + 1


def test_acks_that_wait_are_bounded_and_what_was_dropped_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_agent.store.MAX_PENDING", 10)
    for n in range(25):
        bench.receive(schedule=Schedule(10 + n, ()))
    assert [ref for ref, _ in bench.acks()] == [f"schedule-v{10 + n}" for n in range(15, 25)]
    counts = bench.store.counts()
    assert (counts.pending, counts.dropped) == (10, 15)
    assert MAX_PENDING > 100 * 24


def test_settled_acks_are_forgotten_in_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_agent.store.KEEP_SETTLED", 5)
    assert KEEP_SETTLED > 1000
    for n in range(20):
        bench.receive(schedule=Schedule(10 + n, ()))
        bench.store.accepted([p.seq for p in bench.store.pending(10)])
    kept = bench.store._db.execute("SELECT count(*) FROM outbox").fetchone()[0]
    assert kept <= 6


def test_a_refused_ack_goes_behind_the_others_and_is_given_up_at_last(bench: Bench) -> None:
    for version in (4, 5):
        bench.receive(schedule=Schedule(version, ()))
    first, second = bench.store.pending(10)
    bench.store.refused([first.seq], max_refusals=2)
    assert [p.seq for p in bench.store.pending(10)] == [second.seq, first.seq]
    bench.store.refused([first.seq], max_refusals=2)
    assert [p.seq for p in bench.store.pending(10)] == [second.seq]
    assert bench.store.counts().refused == 1


def test_two_agents_cannot_share_a_state(bench: Bench) -> None:
    with pytest.raises(AgentError, match="another agent"):
        Store(bench.path)


def test_a_damaged_database_is_put_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    store = Store(path)
    store.receive(Document(ALL_DAY), NOON, "legacy")
    assert store.schedule() == ALL_DAY
    assert store.pending(1)[0].ack == Ack("schedule-v3", AckState.DELIVERED, NOON)
    store.close()
    assert (tmp_path / "agent.db.damaged").exists()


def test_what_is_journaled_is_written_through(bench: Bench) -> None:
    pragma: Callable[[str], object] = lambda name: bench.store._db.execute(f"PRAGMA {name}").fetchone()[0]  # noqa: E731
    assert (pragma("journal_mode"), pragma("synchronous")) == ("wal", 2)
