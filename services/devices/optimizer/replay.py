"""What the planner would have saved in a past year, under rules that leave it no foresight. Pure.

- A plan is made when the market publishes (13:00 local, for all of the next day) and at the year's first hour. It sees
  prices until the last published hour, 34 to 36 hours on, and nothing later.
- It expects the load of the same hour a week before; it is billed for the real one.
- It is carried out until the next publication. What lies beyond is planned but not billed.
- A kWh left when the year ends is worth nothing.
- `covering`: where a plan discharges for the house, and while the timer discharges, the inverter covers the house and
  exports nothing, by its own meter; else it gives the planned power whatever the house takes. Alike for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from services.devices.optimizer import dynamic, forecast, horizon, rules
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.errors import BadInput
from services.devices.optimizer.tariff import Array, Tariff


@dataclass(frozen=True, slots=True)
class Year:
    """Hours [begin, end), prices EUR/MWh from `begin` on (some days longer than the year), load kWh [home, hour]."""

    begin: datetime
    end: datetime
    prices: Array
    load: Array

    @property
    def hours(self) -> int:
        return round((self.end - self.begin) / horizon.HOUR)

    def __post_init__(self) -> None:
        if len(self.prices) < self.hours or self.load.shape[1] != self.hours:
            raise BadInput("a year needs a price and a load for each of its hours")


@dataclass(frozen=True, slots=True)
class Way:
    """How the battery is run; `foresight` plans with the real load, to see what the forecast costs."""

    covering: bool = True
    foresight: bool = False
    levels: int = dynamic.LEVELS


@dataclass(frozen=True, slots=True)
class Outcome:
    """EUR by home: the energy bill, and the wear of the battery's cells."""

    bill: Array
    wear: Array

    def saved(self, other: Outcome) -> float:
        """The share of the other's bills that was saved, over all homes."""
        return float(1 - self.bill.sum() / other.bill.sum())

    def saved_after_wear(self, other: Outcome) -> float:
        return float(1 - (self.bill + self.wear).sum() / (other.bill + other.wear).sum())

    def least_saved(self, other: Outcome) -> float:
        """By the home that saved the smallest share."""
        return float((1 - self.bill / other.bill).min())


def without(year: Year, tariff: Tariff) -> Outcome:
    """No battery."""
    bill = tariff.bill_eur(year.prices[: year.hours], year.load).sum(axis=1)
    return Outcome(bill, np.zeros_like(bill))


def timed(year: Year, battery: Battery, tariff: Tariff, way: Way) -> Outcome:
    """The timer's rule: charge by night, discharge in the evening."""
    local = horizon.local_hours(horizon.hours_of(year.begin, year.end))
    wanted = rules.timer_kw(battery, local)
    stored = np.zeros(len(year.load))
    moved = np.empty_like(year.load)
    for hour, power in enumerate(wanted):
        into = np.full(len(stored), power * battery.one_way if power > 0 else power / battery.one_way)
        if power < 0 and way.covering:
            into = _covers(battery, year.load[:, hour])
        moved[:, hour] = np.clip(into, -stored, battery.usable_kwh - stored)
        stored += moved[:, hour]
    return _billed(year, battery, tariff, moved)


def planned(year: Year, battery: Battery, tariff: Tariff, way: Way) -> Outcome:
    """The planner's table of each publication, followed from the charge that there really is."""
    grid = dynamic.make_grid(battery, 1.0, way.levels)
    stored = np.zeros(len(year.load))
    moved = np.empty_like(year.load)
    now, first = year.begin, 0
    while first < year.hours:
        until, again = horizon.known_until(now), horizon.next_publication(now)
        steps = min(round((until - now) / horizon.HOUR), len(year.prices) - first)
        kept = min(round((again - now) / horizon.HOUR), year.hours - first)
        expected = _expected(year, first, steps, way)
        cost = dynamic.costs(grid, tariff, year.prices[first : first + steps], expected)
        table = dynamic.solve(grid, cost)
        for step in range(kept):
            into = _into_cells(grid, table.choices[step], stored, expected[:, step], year.load[:, first + step], way)
            moved[:, first + step] = into
            stored += into
        now, first = again, first + kept
    return _billed(year, battery, tariff, moved)


def _expected(year: Year, first: int, steps: int, way: Way) -> Array:
    if way.foresight:
        return year.load[:, np.arange(first, first + steps) % year.hours]
    return forecast.last_week(year.load, first, steps)


def _into_cells(
    grid: dynamic.Grid, choices: NDArray[np.int64], stored: Array, expected: Array, load: Array, way: Way
) -> Array:
    """One hour, all homes: the table's move at the charge that there is, or what the house takes."""
    level = np.minimum(grid.levels - 1, np.floor(stored / grid.step_kwh + 1e-6).astype(np.int64))
    choice = np.take_along_axis(choices, level[:, None], axis=1)[:, 0]
    into = grid.moves_kwh()[choice]
    if way.covering:
        out = -grid.meter_kwh()[choice]
        for_house = (out > 0) & (out <= np.maximum(expected, 0) + grid.step_kwh)
        into = np.where(for_house, _covers(grid.battery, load), into)
    return np.clip(into, -stored, grid.battery.usable_kwh - stored)


def _covers(battery: Battery, load: Array) -> Array:
    """What leaves the cells in an hour so that the house takes nothing from the grid."""
    return -np.clip(load, 0, battery.power_kw) / battery.one_way


def _billed(year: Year, battery: Battery, tariff: Tariff, into_cells: Array) -> Outcome:
    meter = np.where(into_cells > 0, into_cells / battery.one_way, into_cells * battery.one_way)
    bill = tariff.bill_eur(year.prices[: year.hours], year.load + meter).sum(axis=1)
    return Outcome(bill, np.abs(into_cells).sum(axis=1) * battery.wear_eur_kwh)
