"""What the battery shall do now: pure decisions. The order of the cases in `decide` is the order of priority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pi_agent.model import Command, Mode, Schedule, Setpoint, Slot
from pi_agent.slots import in_force, occurrence


class Kind(Enum):
    """What a setpoint comes from."""

    COMMAND = "command"
    SLOT = "slot"
    FALLBACK = "fallback"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is for people: the status file and the log."""

    setpoint: Setpoint
    kind: Kind
    reason: str


HOLD = Setpoint(Mode.HOLD, 0, "")


def decide(
    local: datetime,
    schedule: Schedule,
    commands: Sequence[Command],
    *,
    distrust: str | None = None,
    stale: bool = False,
    fallback: tuple[Slot, ...] = (),
) -> Decision:
    """`commands`: those that may run now (neither expired nor failed); `local`: the aware local time.

    `distrust`: why the clock says nothing; slots, and the ends of commands, are times. `stale`: the backend was not
    heard of for so long that `fallback`, the agent's own or the schedule's, takes the schedule's place.
    """
    if distrust is not None:
        return Decision(HOLD, Kind.NONE, f"the clock is not synchronised: {distrust}")
    if commands:
        newest = max(commands, key=lambda c: (c.issued_at, c.ref))
        return Decision(Setpoint(newest.mode, newest.power_w, newest.ref), Kind.COMMAND, "command")
    if stale or schedule.version == 0:
        why = "off line for too long" if stale else "no schedule yet"
        slot = in_force(fallback if schedule.fallback is None else schedule.fallback, local)
        if slot is None:
            return Decision(HOLD, Kind.NONE, why)
        ref = occurrence(slot, schedule.version, local).replace("slot-", "fallback-", 1)
        return Decision(Setpoint(slot.mode, slot.power_w, ref), Kind.FALLBACK, f"fallback: {why}")
    slot = in_force(schedule.slots, local)
    if slot is None:
        return Decision(HOLD, Kind.NONE, "between slots")
    return Decision(Setpoint(slot.mode, slot.power_w, occurrence(slot, schedule.version, local)), Kind.SLOT, "slot")
