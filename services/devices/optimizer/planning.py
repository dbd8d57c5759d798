"""One battery's plan: what it does in each step, what that is expected to cost, and what doing nothing would. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.devices.optimizer import dynamic
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.dynamic import LEVELS, Grid
from services.devices.optimizer.errors import BadInput
from services.devices.optimizer.tariff import Array, Tariff

MOST_STEPS = 400


@dataclass(frozen=True, slots=True)
class Question:
    """Prices EUR/MWh and expected load kWh of steps of `hours` each; `soc` is the fraction at the beginning."""

    battery: Battery
    tariff: Tariff
    prices: Array
    load: Array
    hours: float = 1.0
    soc: float = 0.0
    terminal_eur_kwh: float = 0.0

    def __post_init__(self) -> None:
        if self.prices.ndim != 1 or self.prices.shape != self.load.shape:
            raise BadInput("prices and load must be two series of the same length")
        if not 1 <= len(self.prices) <= MOST_STEPS:
            raise BadInput(f"a plan has 1 to {MOST_STEPS} steps")
        if not (np.isfinite(self.prices).all() and np.isfinite(self.load).all()):
            raise BadInput("prices and load must be finite numbers")
        if not 0 <= self.soc <= 1:
            raise BadInput("the state of charge is a fraction from 0 to 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """`power_kw` at the meter (above 0: charging) for each step, `soc` at its end.

    `cost_eur` counts bill and wear, less what the charge at the end is worth; `idle_eur` is the bill without a battery.
    """

    power_kw: Array
    soc: Array
    cost_eur: float
    idle_eur: float


def plan(question: Question, levels: int = LEVELS) -> Plan:
    """The cheapest plan on the grid. Raises: BadInput."""
    grid = dynamic.make_grid(question.battery, question.hours, levels)
    cost = dynamic.costs(grid, question.tariff, question.prices, question.load[None, :])
    table = dynamic.solve(grid, cost, question.terminal_eur_kwh)
    path = dynamic.follow(grid, table, np.array([grid.level_of(question.soc)]))[0]
    return carried_out(question, grid, np.diff(path) * grid.step_kwh)


def carried_out(question: Question, grid: Grid, into_cells: Array) -> Plan:
    """What moving `into_cells` kWh in each step does and costs."""
    battery = question.battery
    meter = np.where(into_cells > 0, into_cells / battery.one_way, into_cells * battery.one_way)
    first = grid.soc_of(np.array([grid.level_of(question.soc)]))[0]
    soc = first + np.cumsum(into_cells) / battery.capacity_kwh
    bill = question.tariff.bill_eur(question.prices, question.load + meter).sum()
    wear = float(np.abs(into_cells).sum()) * battery.wear_eur_kwh
    left = (soc[-1] - battery.soc_least) * battery.capacity_kwh * question.terminal_eur_kwh
    idle = question.tariff.bill_eur(question.prices, question.load).sum()
    return Plan(meter / question.hours, soc, float(bill + wear - left), float(idle))
