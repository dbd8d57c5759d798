"""Charge, discharge or idle, for a whole fleet at once. Pure: arrays in, arrays out.

The order of the steps in `decide` is the order of what wins, weakest first:
1. the class's policy at the battery's charge; where that is not known, or old, the price alone (the monolith's rule),
2. hysteresis: to begin, an action must gain more than to go on,
3. dwell: a battery that has just changed stays as it is,
4. limits: nothing is put into a full battery or taken from an empty one, whatever was said before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.devices.market.policy import LEVELS, Policy

Modes = NDArray[np.int8]
MODES = {-1: "discharge", 0: "idle", 1: "charge"}
CODES = {word: code for code, word in MODES.items()}


@dataclass(frozen=True, slots=True)
class Rules:
    """EUR/kWh to begin and to go on; s; fractions of the capacity; EUR/MWh for a battery whose charge is not known."""

    begin_gain: float = 0.02
    keep_gain: float = 0.005
    dwell_s: float = 300.0
    soc_least: float = 0.1
    soc_most: float = 0.95
    charge_below: float = 0.0
    discharge_above: float = 250.0
    soc_age_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """One entry a battery. `soc` is NaN where it was never told, else `soc_age_s` old; `mode` −1, 0, 1 for `mode_s`."""

    kind: NDArray[np.int64]
    soc: NDArray[np.float64]
    soc_age_s: NDArray[np.float64]
    mode: Modes
    mode_s: NDArray[np.float64]


def decide(price: float, policy: Policy, fleet: Fleet, rules: Rules) -> Modes:
    """What each battery should do from now on, at `price` EUR/MWh."""
    known = ~np.isnan(fleet.soc) & (fleet.soc_age_s <= rules.soc_age_s)
    soc = np.where(known, fleet.soc, 0.0)
    level = np.clip((soc * (LEVELS - 1)).astype(np.int64), 0, LEVELS - 1)
    action = policy.action[fleet.kind, level]
    needed = np.where(action == fleet.mode, rules.keep_gain, rules.begin_gain)
    wanted = np.where(policy.gain[fleet.kind, level] >= needed, action, 0)
    wanted = np.where(known, wanted, by_price(price, rules))
    wanted = np.where(known & (fleet.mode_s < rules.dwell_s), fleet.mode, wanted)
    full = known & (soc >= rules.soc_most) & (wanted > 0)
    empty = known & (soc <= rules.soc_least) & (wanted < 0)
    return np.where(full | empty, 0, wanted).astype(np.int8)


def by_price(price: float, rules: Rules) -> int:
    """The grid pays for taking energy, or pays well for giving it."""
    if price < rules.charge_below:
        return 1
    return -1 if price > rules.discharge_above else 0
