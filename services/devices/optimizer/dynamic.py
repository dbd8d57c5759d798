"""The planner's core: dynamic programming over state of charge × time × what is moved in a step. Pure.

Conventions, said once:
- A move `d` is kWh into the cells (below 0: out of them). At the meter that is `d / one_way` in, `d × one_way` out.
- A step's cost is the tariff's bill of load + what is moved at the meter, plus wear × |d|. It does not depend on the
  level, so `cost[t, home, move]` holds all of it, and one minimum over a sliding window does a step for every level.
- Charging and discharging within one step do not exist, so nothing is burnt to earn a negative price.
- `terminal_eur_kwh` is what a kWh left in the cells at the end is worth.

Levels are evenly spaced; the power limit is rounded down to whole levels, so every plan can be carried out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.devices.optimizer.battery import Battery
from services.devices.optimizer.errors import BadInput
from services.devices.optimizer.tariff import Array, Tariff

#: 51 levels lose 1.6–1.8 % of the saving against a linear programme, and 201 cost twenty times the time.
LEVELS = 51
MOST_LEVELS = 1001
#: EUR/kWh: between equally good plans the one that moves less is taken.
TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Grid:
    """The levels of a battery's charge, and the moves that fit in a step of `hours`."""

    battery: Battery
    levels: int
    hours: float

    @property
    def step_kwh(self) -> float:
        return self.battery.usable_kwh / (self.levels - 1)

    @property
    def down(self) -> int:
        """How many levels a step can take out."""
        return self._whole(self.battery.power_kw * self.hours / self.battery.one_way)

    @property
    def up(self) -> int:
        return self._whole(self.battery.power_kw * self.hours * self.battery.one_way)

    def _whole(self, kwh: float) -> int:
        return min(self.levels - 1, math.floor(kwh / self.step_kwh + 1e-9))

    def moves_kwh(self) -> Array:
        """Into the cells, from the largest discharge to the largest charge; 0 is at index `down`."""
        return np.arange(-self.down, self.up + 1) * self.step_kwh

    def meter_kwh(self) -> Array:
        """What the meter sees of each move."""
        moves = self.moves_kwh()
        return np.where(moves > 0, moves / self.battery.one_way, moves * self.battery.one_way)

    def level_of(self, soc: float) -> int:
        """The level at or below a state of charge: a plan never counts on energy that is not there."""
        kwh = (soc - self.battery.soc_least) * self.battery.capacity_kwh
        return min(self.levels - 1, max(0, math.floor(kwh / self.step_kwh + 1e-6)))

    def soc_of(self, level: Array | NDArray[np.int64]) -> Array:
        return self.battery.soc_least + level * self.step_kwh / self.battery.capacity_kwh


def make_grid(battery: Battery, hours: float, levels: int = LEVELS) -> Grid:
    """Raises: BadInput when the levels are so far apart that the battery could not move at all."""
    if not 2 <= levels <= MOST_LEVELS:
        raise BadInput(f"levels of charge: 2 to {MOST_LEVELS}")
    if not 0 < hours <= 24:
        raise BadInput("a step lasts more than 0 and at most 24 hours")
    grid = Grid(battery, levels, hours)
    if grid.up == 0 or grid.down == 0:
        raise BadInput(f"with {levels} levels the battery moves less than one level in a step: take more levels")
    return grid


def costs(grid: Grid, tariff: Tariff, spot_eur_mwh: Array, load_kwh: Array) -> Array:
    """EUR of every move in every step, by [step, home, move]; `load_kwh` is [home, step]."""
    net = load_kwh.T[:, :, None] + grid.meter_kwh()
    bill = tariff.bill_eur(spot_eur_mwh[:, None, None], net)
    moved: Array = np.abs(grid.moves_kwh()) * (grid.battery.wear_eur_kwh + TIE)
    return bill + moved


@dataclass(frozen=True, slots=True)
class Table:
    """The best move (its index) by [step, home, level], and the cost to go from each level at each step's beginning.

    `values` has one step more than `choices`: what is left at the end is worth, as a cost below 0.
    """

    choices: NDArray[np.int64]
    values: Array


def solve(grid: Grid, cost: Array, terminal_eur_kwh: float = 0.0) -> Table:
    """Backwards from the end; `cost` is [step, home, move]. Time: steps × homes × levels × moves."""
    steps, homes, moves = cost.shape
    levels = grid.levels
    values = np.empty((steps + 1, homes, levels))
    values[steps] = -terminal_eur_kwh * grid.step_kwh * np.arange(levels)
    choices = np.empty((steps, homes, levels), dtype=np.int64)
    padded = np.full((homes, levels + moves - 1), np.inf)
    inside = padded[:, grid.down : grid.down + levels]
    # window[home, level, move] is the value of the level that the move leads to; infinite outside the battery.
    window = np.lib.stride_tricks.sliding_window_view(padded, moves, axis=1)
    for step in range(steps - 1, -1, -1):
        inside[:] = values[step + 1]
        total = window + cost[step][:, None, :]
        best = total.argmin(axis=2)
        choices[step] = best
        values[step] = np.take_along_axis(total, best[:, :, None], axis=2)[:, :, 0]
    return Table(choices, values)


@dataclass(frozen=True, slots=True)
class Beginning:
    """The best first move (its index) by [home, level], and how much less the whole then costs than after no move."""

    choice: NDArray[np.int64]
    gain: Array


def first(grid: Grid, cost: Array, terminal_eur_kwh: float = 0.0) -> Beginning:
    """`solve`, for who needs the first step only: some ten times as fast. Moves of infinite cost are not made."""
    steps, homes, moves = cost.shape
    levels = grid.levels
    padded = np.full((homes, levels + moves - 1), np.inf)
    inside = padded[:, grid.down : grid.down + levels]
    inside[:] = -terminal_eur_kwh * grid.step_kwh * np.arange(levels)
    # Moves come first here: the minimum then runs over whole rows of homes × levels.
    window = np.lib.stride_tricks.sliding_window_view(padded, moves, axis=1).transpose(2, 0, 1)
    by_move = np.ascontiguousarray(cost.transpose(0, 2, 1))
    total = np.empty((moves, homes, levels))
    for step in range(steps - 1, 0, -1):
        np.add(window, by_move[step][:, :, None], out=total)
        total.min(axis=0, out=inside)
    np.add(window, by_move[0][:, :, None], out=total)
    return Beginning(total.argmin(axis=0), total[grid.down] - total.min(axis=0))


def follow(grid: Grid, table: Table, level: NDArray[np.int64]) -> NDArray[np.int64]:
    """The levels [home, step + 1] of the best path from each home's first one."""
    steps, homes, _ = table.choices.shape
    path = np.empty((homes, steps + 1), dtype=np.int64)
    path[:, 0] = level
    home = np.arange(homes)
    for step in range(steps):
        path[:, step + 1] = path[:, step] + table.choices[step, home, path[:, step]] - grid.down
    return path
