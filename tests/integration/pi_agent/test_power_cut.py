"""The power goes: what was written through is there, a write under way is torn, the battery has forgotten or not.

At each step of the journal the files are copied as a disk would hold them, since each step is written through before
the next begins; behind them stands a piece of the next write, or the last write is cut short before what follows it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pi_agent.journal import Step
from pi_agent.model import Command, Mode, Setpoint
from tests.integration.pi_agent.test_controller import ALL_DAY_REF, NOON, Bench, FakeBattery, FakeClock

COMMAND = Command("cmd-1", Mode.DISCHARGE, 800, NOON, NOON + timedelta(minutes=15))
FRAME = 4096 + 24  # a page and its head, in SQLite's write-ahead log


@dataclass(frozen=True)
class Disk:
    """What is on the disk at a step, what the battery had taken by then, and what the backend had been told."""

    step: Step
    files: Path
    at: datetime
    taken: tuple[Setpoint | str, ...]
    told: tuple[tuple[str, str], ...]


class Recorder(Bench):
    """A life of an agent with a command, its acks delivered; a copy of the disk at each step."""

    def __init__(self, folder: Path) -> None:
        self.disks: list[Disk] = []
        self.told: list[tuple[str, str]] = []
        folder.mkdir()
        super().__init__(folder / "agent.db")

    def checkpoint(self, step: Step) -> None:
        copy = self.path.parent.parent / f"disk-{len(self.disks)}"
        copy.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.path}{suffix}", copy / f"agent.db{suffix}")
        self.disks.append(Disk(step, copy, self.clock.wall, tuple(self.battery.taken), tuple(self.told)))

    def deliver(self) -> None:
        waiting = self.store.pending(9)
        self.told += [(p.ack.ref, p.ack.state.value) for p in waiting]
        self.checkpoint(Step.SENT)
        self.store.accepted([p.seq for p in waiting])
        self.checkpoint(Step.SETTLED)

    def live(self) -> None:
        self.receive_and_tick(COMMAND)
        self.deliver()
        self.clock.pass_time(15 * 60)
        self.controller.tick()
        self.deliver()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "life")
    recorder.live()
    yield recorder
    recorder.store.close()


def revived(disk: Disk, folder: Path, remembers: bool = True) -> Bench:
    """An agent on that disk. A battery that lost its power too does not remember the last setpoint."""
    shutil.copytree(disk.files, folder)
    last = next((ref for ref in reversed(_refs(disk.taken)) if ref != "safe"), "")
    return Bench(folder / "agent.db", FakeClock(disk.at), FakeBattery(ref=last if remembers else ""))


def check(disk: Disk, bench: Bench) -> None:
    """Live on until all is over, then look at everything that was ever done and told."""
    assert bench.battery.taken[0] == "safe", "safe before anything else"
    bench.receive(COMMAND)
    bench.controller.tick()
    bench.clock.pass_time(15 * 60)
    bench.controller.tick()
    told = [*disk.told, *bench.acks()]
    began = ("cmd-1" in _refs(disk.taken)) or "cmd-1" in bench.battery.refs()
    assert ("cmd-1", "delivered") in told
    assert (("cmd-1", "succeeded") in told) == began, "what was done is told, and nothing else"
    assert ("schedule-v3", "delivered") in told
    assert (ALL_DAY_REF, "succeeded") in told
    assert bench.battery.refs()[-1] == ALL_DAY_REF
    waiting = bench.acks()
    assert len(waiting) == len(set(waiting)), "each once in the outbox"
    settled = disk.step is Step.SETTLED
    assert not settled or not set(waiting) & set(disk.told), "told again though it was settled"


def _refs(taken: tuple[Setpoint | str, ...]) -> list[str]:
    return [t if isinstance(t, str) else t.ref for t in taken]


def test_the_life_passes_each_step(life: Recorder) -> None:
    steps = {disk.step for disk in life.disks}
    assert steps == set(Step) - {Step.TRIAL, Step.COMMITTED}


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("torn", [0, 100, FRAME, FRAME + 24])
def test_power_lost_at_any_step_nothing_is_done_twice_and_no_ack_is_lost(
    life: Recorder, tmp_path: Path, torn: int, remembers: bool
) -> None:
    for number, disk in enumerate(life.disks):
        with (disk.files / "agent.db-wal").open("ab") as wal:
            wal.write(bytes(range(256)) * (torn // 256) + b"\xa5" * (torn % 256))
        bench = revived(disk, tmp_path / f"life-{number}", remembers)
        try:
            check(disk, bench)
        finally:
            bench.store.close()


def test_a_write_that_was_cut_short_is_as_if_it_had_not_been(life: Recorder, tmp_path: Path) -> None:
    """The write of a step, cut at each frame and in the midst of it: the world is as it was at the step before."""
    number = 0
    for before, disk in zip(life.disks, life.disks[1:], strict=False):
        shorter, longer = ((d.files / "agent.db-wal").stat().st_size for d in (before, disk))
        for size in {*range(shorter, longer, FRAME), *(s + 1000 for s in range(shorter, longer, FRAME))} - {longer}:
            folder = tmp_path / f"cut-{number}"
            shutil.copytree(disk.files, folder)
            with (folder / "agent.db-wal").open("r+b") as wal:
                wal.truncate(size)
            cut = Disk(before.step, folder, before.at, before.taken, before.told)
            bench = revived(cut, tmp_path / f"after-{number}", True)
            try:
                check(cut, bench)
            finally:
                bench.store.close()
            number += 1
    assert number > 10
