"""What the battery shall do now: pure decisions. The order of the cases in `decide` is the order of priority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pi_agent.config import Battery
from pi_agent.model import Command, Mode, Reading, Schedule, Setpoint
from pi_agent.slots import in_force, occurrence


class Kind(Enum):
    """What a setpoint comes from."""

    COMMAND = "command"
    SLOT = "slot"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is for people: the status file and the log."""

    setpoint: Setpoint
    kind: Kind
    reason: str


HOLD = Setpoint(Mode.HOLD, 0, "")


def decide(local: datetime, schedule: Schedule, commands: Sequence[Command], *, clock_trusted: bool) -> Decision:
    """`commands`: those that may run now (neither expired nor failed); `local`: the aware local time."""
    if not clock_trusted:
        return Decision(HOLD, Kind.NONE, "the clock is not synchronised")
    if commands:
        newest = max(commands, key=lambda c: (c.issued_at, c.ref))
        return Decision(Setpoint(newest.mode, newest.power_w, newest.ref), Kind.COMMAND, "command")
    if schedule.version == 0:
        return Decision(HOLD, Kind.NONE, "no schedule yet")
    slot = in_force(schedule.slots, local)
    if slot is None:
        return Decision(HOLD, Kind.NONE, "between slots")
    return Decision(Setpoint(slot.mode, slot.power_w, occurrence(slot, schedule.version, local)), Kind.SLOT, "slot")


def limited(setpoint: Setpoint, reading: Reading | None, battery: Battery) -> Setpoint:
    """The setpoint within the battery's own limits; without a recent reading nothing flows.

    A failed reading is not a state of charge of 0 %: it is no reading.
    """
    blocked = (
        reading is None
        or (setpoint.mode is Mode.CHARGE and reading.soc >= battery.soc_max)
        or (setpoint.mode is Mode.DISCHARGE and reading.soc <= battery.soc_min)
    )
    if blocked:
        return Setpoint(Mode.HOLD, 0, setpoint.ref)
    return Setpoint(setpoint.mode, min(setpoint.power_w, battery.max_power_w), setpoint.ref)
