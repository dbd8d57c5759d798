"""Rules that need no planner: the timer that households use, and what answers when the planner does not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.devices.optimizer import dynamic
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.planning import Plan, Question, carried_out
from services.devices.optimizer.tariff import Array

#: Hours of the local day, half-open.
CHARGE = (1, 5)
DISCHARGE = (16, 20)


def timer_kw(battery: Battery, local_hours: Sequence[int]) -> Array:
    """Charge by night, discharge in the evening, as evenly as fills and empties the battery; kW at the meter."""
    hours = np.asarray(local_hours)
    into = min(battery.power_kw, battery.usable_kwh / battery.one_way / (CHARGE[1] - CHARGE[0]))
    out = min(battery.power_kw, battery.usable_kwh * battery.one_way / (DISCHARGE[1] - DISCHARGE[0]))
    charging = (hours >= CHARGE[0]) & (hours < CHARGE[1])
    discharging = (hours >= DISCHARGE[0]) & (hours < DISCHARGE[1])
    return np.where(charging, into, np.where(discharging, -out, 0.0))


def into_cells(battery: Battery, wanted_kw: Array, hours: float, stored_kwh: float) -> Array:
    """What really goes into the cells when `wanted_kw` is asked for: limits of power and charge always win."""
    moved = np.empty(len(wanted_kw))
    for step, power in enumerate(wanted_kw):
        power = min(battery.power_kw, max(-battery.power_kw, float(power)))
        wish = power * hours * battery.one_way if power > 0 else power * hours / battery.one_way
        moved[step] = min(battery.usable_kwh - stored_kwh, max(-stored_kwh, wish))
        stored_kwh += moved[step]
    return moved


def by_timer(question: Question, local_hours: Sequence[int]) -> Plan:
    """The timer's plan for the same question, priced alike."""
    grid = dynamic.make_grid(question.battery, question.hours, dynamic.MOST_LEVELS)
    stored = grid.level_of(question.soc) * grid.step_kwh
    wanted = timer_kw(question.battery, local_hours)
    return carried_out(question, grid, into_cells(question.battery, wanted, question.hours, stored))
