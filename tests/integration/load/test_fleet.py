"""Simulated fleets: the agents' own cores over real sockets, with what goes wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from load.fleet.device import Device, Tally
from load.fleet.faults import Faults, Weather
from load.fleet.group import Group, split
from load.fleet.worker import Fleet
from pi_agent.config import Timing
from tests.integration.load.fleet_sides import Sides

QUICK = Timing(
    poll_s=0.5, wait_s=5, flags_s=0.5, control_s=0.25, request_timeout_s=2, backoff_base_s=0.1, backoff_cap_s=0.5,
    ack_spread_s=0, v2_retreat_s=1, v2_retreat_cap_s=1, trial_s=5, trial_pause_s=0.1, report_s=5, relay_s=3,
)  # fmt: skip


class Town:
    """Some devices in this process, beside both of their backends."""

    def __init__(self, sides: Sides, url: str, faults: Faults) -> None:
        self.sides, self.tally = sides, Tally()
        addresses = {"gateway": url, "service": url, "flags": url}
        self.devices = {i: Device(i, "t", addresses, QUICK, Weather.of(i, faults), self.tally) for i in sides.devices}

    def start(self) -> None:
        for device in self.devices.values():
            device.start()

    def stop(self) -> None:
        for device in self.devices.values():
            device.stop()

    def phases(self) -> set[str]:
        return {device.phase for device in self.devices.values()}


async def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    sides = Sides(range(1, 31))
    async with sides.serving() as url:
        made = Town(sides, url, Faults())
        made.start()
        yield made
        made.stop()


def told(sides: Sides, number: int, state: str) -> int:
    return sum((device, f"cmd-{number}-{device}", state) in sides.acks for device in sides.devices)


async def test_a_published_schedule_is_there_at_once_for_those_who_wait(town: Town) -> None:
    await town.sides.move(town.sides.devices, "v2")
    await until(lambda: town.phases() == {"v2"}, "all on v2")
    await asyncio.sleep(1.2)  # polls begin a second apart at least: now all of them wait
    town.sides.version = 2
    begun = time.monotonic()
    await town.sides.wake()
    await until(lambda: all(d.version == 2 for d in town.devices.values()), "all have it")
    assert max(town.tally.arrived[2].values()) - begun < 1


async def test_a_broken_candidate_keeps_its_devices_on_legacy_where_they_are_commanded(town: Town) -> None:
    town.sides.broken = {1: "500", 2: "wrong", 3: "slow"}
    await town.sides.move(town.sides.devices, "v2")
    good = [d for i, d in town.devices.items() if i not in town.sides.broken]
    await until(lambda: {d.phase for d in good} == {"v2"}, "the others on v2")
    await until(lambda: {town.devices[i].phase for i in (1, 2)} <= {"reverted", "trial"}, "these are not")
    await town.sides.command(1)
    await until(lambda: told(town.sides, 1, "succeeded") == 30, "every device obeys one backend")
    town.sides.broken = {}
    await until(lambda: town.phases() == {"v2"}, "all on v2 when it is well")


async def test_the_way_back_is_one_change_of_the_flag(town: Town) -> None:
    await town.sides.move(town.sides.devices, "v2")
    await until(lambda: town.phases() == {"v2"}, "all on v2")
    await town.sides.move(town.sides.devices, "legacy")
    await until(lambda: town.phases() == {"legacy"}, "all back", 5)
    await town.sides.command(1)
    await until(lambda: told(town.sides, 1, "succeeded") == 30, "commanded by legacy")


async def test_a_fleet_in_processes_counts_what_arrives(tmp_path: Path) -> None:
    sides = Sides(range(1, 41))
    async with sides.serving() as url:
        timing = {"poll_s": 0.5, "wait_s": 5, "control_s": 0.5, "ack_spread_s": 0.5}
        fleet = Fleet(1, 40, {"gateway": url, "service": url}, "t", timing, on_v2=True)
        group = await asyncio.to_thread(Group(split(fleet, 2), tmp_path / "log").start)
        try:
            found = await asyncio.to_thread(group.until, lambda f: f["have"] == 40, "the schedule", 30)
            assert (found["devices"], found["phases"], len(found["arrived"])) == (40, {"v2": 40}, 40)
            told_all = lambda f: f["waiting_acks"] == 0 and len(sides.acks) == 80  # noqa: E731
            await asyncio.to_thread(group.until, told_all, "an ack of the schedule and of its slot each", 30)
        finally:
            await asyncio.to_thread(group.stop)
    assert set(sides.acks.values()) == {1}
    assert [process.returncode for process in group.processes] == [0, 0]


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_fleet_moves_by_waves_under_faults_and_nothing_is_lost_or_done_for_two() -> None:
    """1 → 10 → 50 → 100 %, with lost packets, wrong clocks, power cuts, a dead server and a bad candidate."""
    sides = Sides(range(1, 101))
    faults = Faults(lossy=0.3, loss=0.1, skewed=0.3, skew_s=20, reboot_s=40)
    async with sides.serving() as url:
        town = Town(sides, url, faults)
        town.start()
        number = 0
        seen: set[int] = set()

        def arrived(upto: int) -> bool:
            """At some time since the wave each of them was: one whose answers are lost may fall back again."""
            seen.update(i for i, d in town.devices.items() if d.phase == "v2")
            return seen >= set(range(1, upto))

        try:
            await until(lambda: all(d.version == 1 for d in town.devices.values()), "begun")
            for upto in (3, 11, 51, 101):
                sides.broken = {upto - 1: "500", upto - 2: "wrong"}
                await sides.move(range(1, upto), "v2")
                for _ in range(3):
                    number += 1
                    await sides.command(number)
                    if number % 4 == 0:
                        sides.down = True
                        await asyncio.sleep(1)
                        sides.down = False
                    with contextlib.suppress(AssertionError):  # a newer command would take the place of a late one
                        await until(lambda n=number: told(sides, n, "succeeded") == 100, "obeyed", 10)  # type: ignore[misc]
                sides.broken = {}
                await until(lambda upto=upto: arrived(upto), f"{upto - 1} on v2", 60)  # type: ignore[misc]
            await until(lambda: told(sides, number, "succeeded") == 100, "the last command", 60)
            await until(lambda: sum(d.waiting_acks for d in town.devices.values()) == 0, "all acks told", 60)
        finally:
            town.stop()
    orders = len(sides.orders)
    succeeded = sum((o.device, o.ref, "succeeded") in sides.acks for o in sides.orders)
    delivered = sum((o.device, o.ref, "delivered") in sides.acks for o in sides.orders)
    assert succeeded / orders > 0.995, f"{succeeded} of {orders}"
    assert delivered >= succeeded
    for order in sides.orders:
        ends = [s for s in ("succeeded", "failed", "rejected", "expired") if (order.device, order.ref, s) in sides.acks]
        assert len(ends) <= 1, f"{order.ref} has the ends {ends}"
    counts = [d.core.journal.counts() for d in town.devices.values()]
    assert (sum(c.refused for c in counts), sum(c.dropped for c in counts)) == (0, 0), "no ack is given up"
    assert town.tally.reboots > 10
    assert town.tally.unreachable > 50
