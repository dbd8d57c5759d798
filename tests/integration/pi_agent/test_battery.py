"""The simulated battery: energy over time, a state that survives the agent, and a deadman."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pi_agent.config import Battery
from pi_agent.drivers.simulated import SimulatedBattery
from pi_agent.errors import DriverError
from pi_agent.model import Mode, Setpoint

CHARGE = Setpoint(Mode.CHARGE, 1000, "r")


class WallClock:
    def __init__(self) -> None:
        self.wall = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.wall.timestamp()


def make(folder: Path, clock: WallClock, lapse_s: float = 7200.0, soc: float = 0.5) -> SimulatedBattery:
    settings = Battery(capacity_wh=10_000, max_power_w=3000, initial_soc=soc, trace=folder / "trace.jsonl")
    return SimulatedBattery(settings, folder / "battery.json", clock, lapse_s)


def test_an_hour_at_one_kilowatt_is_one_kilowatt_hour(tmp_path: Path) -> None:
    clock = WallClock()
    battery = make(tmp_path, clock)
    battery.apply(CHARGE)
    clock.wall += timedelta(hours=1)
    assert battery.read().soc == pytest.approx(0.6)
    battery.apply(Setpoint(Mode.DISCHARGE, 2000, "s"))
    clock.wall += timedelta(hours=1)
    assert battery.read().soc == pytest.approx(0.4)


def test_it_stops_when_full_and_when_empty(tmp_path: Path) -> None:
    clock = WallClock()
    battery = make(tmp_path, clock, soc=0.99)
    battery.apply(CHARGE)
    clock.wall += timedelta(hours=1)
    assert (battery.read().soc, battery.read().power_w) == (1.0, 0.0)


def test_a_setpoint_that_nobody_renews_lapses_even_when_the_agent_is_dead(tmp_path: Path) -> None:
    clock = WallClock()
    make(tmp_path, clock, lapse_s=3).apply(CHARGE)
    clock.wall += timedelta(hours=5)
    after = make(tmp_path, clock, lapse_s=3)
    assert after.read().power_w == 0.0
    assert after.read().soc == pytest.approx(0.5 + 1000 * 3 / 3600 / 10_000)
    assert after.read().ref == "r"


def test_a_clock_set_back_moves_no_energy(tmp_path: Path) -> None:
    clock = WallClock()
    battery = make(tmp_path, clock)
    battery.apply(CHARGE)
    clock.wall -= timedelta(hours=1)
    assert battery.read().soc == 0.5


def test_it_refuses_more_than_it_can_and_a_state_that_is_damaged(tmp_path: Path) -> None:
    clock = WallClock()
    with pytest.raises(DriverError, match="more than the battery's 3000 W"):
        make(tmp_path, clock).apply(Setpoint(Mode.CHARGE, 3001, "r"))
    (tmp_path / "battery.json").write_text("{")
    with pytest.raises(DriverError, match="cannot be read"):
        make(tmp_path, clock)


def test_each_change_is_traced_and_renewals_are_not(tmp_path: Path) -> None:
    battery = make(tmp_path, WallClock())
    for _ in range(3):
        battery.apply(CHARGE)
    battery.safe()
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert [(line["ref"], line["power_w"]) for line in lines] == [("r", 1000.0), ("r", 0.0)]
