"""What a class of batteries should do at each state of charge, now: one small table serves the whole fleet. Pure.

Steering by imbalance is paid at the market's price in both directions, so the household's load does not enter: the best
action depends on price, expected prices, charge and the battery's class only. A class is a battery of 1 kWh with the
same power per capacity: everything in it scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.devices.optimizer import dynamic
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.tariff import WHOLESALE, Array

QUARTERS = 96
HOURS = 0.25
LEVELS = 51
#: How much of an imbalance price's distance from the usual is expected to be left a quarter of an hour later.
PERSISTENCE = 0.7
#: Power per capacity (1/h) of the classes; a battery belongs to the nearest.
RATES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Policy:
    """`action` −1 discharge, 0 idle, 1 charge and `gain` EUR/kWh moved over idling, by [class, level]."""

    action: NDArray[np.int8]
    gain: Array

    def has_nothing_to_do(self, least_gain: float) -> NDArray[np.bool_]:
        """By class: is there no charge at which acting is worth it?"""
        busy: NDArray[np.bool_] = ((self.action != 0) & (self.gain >= least_gain)).any(axis=1)
        return ~busy


def classes(capacity_wh: NDArray[np.int64], power_w: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each battery."""
    middles = np.add(RATES[:-1], RATES[1:]) / 2
    return np.searchsorted(middles, power_w / np.maximum(capacity_wh, 1)).astype(np.int64)


def expected(price: float, usual: Sequence[float]) -> Array:
    """EUR/MWh of the coming quarters: what is unusual now fades; `usual` are the means of these quarters."""
    means = np.asarray(usual, dtype=np.float64)
    fading = PERSISTENCE ** np.arange(len(means))
    return means + (price - means[0]) * fading


def policy(prices: Array, *, round_trip: float = 0.9, wear_eur_kwh: float = 0.02) -> Policy:
    """From the expected prices of the coming quarters, the first being the price now.

    A kWh left at the end is worth what it would sell for at the mean price. All classes are solved at once: each is
    forbidden the moves that its power does not allow.
    """
    grids = [dynamic.make_grid(Battery(1.0, rate, round_trip, wear_eur_kwh), HOURS, LEVELS) for rate in RATES]
    widest = grids[-1]
    cost = dynamic.costs(widest, WHOLESALE, prices, np.zeros((len(grids), len(prices))))
    index = np.arange(-widest.down, widest.up + 1)
    for number, grid in enumerate(grids):
        cost[:, number, (index < -grid.down) | (index > grid.up)] = np.inf
    worth = float(prices.mean()) / 1000 * widest.battery.one_way
    begin = dynamic.first(widest, cost, worth)
    moved = begin.choice - widest.down
    gain = begin.gain / np.maximum(np.abs(moved) * widest.step_kwh, 1e-12)
    return Policy(np.sign(moved).astype(np.int8), gain)
