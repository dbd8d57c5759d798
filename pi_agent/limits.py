"""What the battery allows, whatever a schedule or a command says: pure, and the last word before the driver."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pi_agent.config import Battery
from pi_agent.model import Mode, Reading, Setpoint


@dataclass(frozen=True, slots=True)
class Past:
    """What was let through last: watts into the battery, when, and when the direction last changed (monotonic)."""

    power_w: float = 0.0
    at: float = -math.inf
    direction: int = 0
    turned: float = -math.inf

    def then(self, setpoint: Setpoint, monotonic: float) -> Past:
        """Hold keeps the last direction: charge, a moment of hold, discharge is a change of direction too."""
        power = signed(setpoint)
        way = int(math.copysign(1, power)) if power else 0
        turned = monotonic if way and way != self.direction else self.turned
        return Past(power, monotonic, way or self.direction, turned)


START = Past()


def limited(
    setpoint: Setpoint, reading: Reading | None, battery: Battery, past: Past = START, monotonic: float = 0.0
) -> Setpoint:
    """The setpoint within the battery's own limits; without a recent reading nothing flows.

    A failed reading is not a state of charge of 0 %: it is no reading.
    """
    if setpoint.mode is Mode.HOLD or reading is None or _forbidden(setpoint, reading, battery, past, monotonic):
        return Setpoint(Mode.HOLD, 0, setpoint.ref)
    power = min(setpoint.power_w, battery.max_power_w)
    if battery.max_ramp_w_s > 0 and past.at > -math.inf:
        # Only more power is slowed down: less is always allowed at once.
        same_way = abs(past.power_w) if past.power_w * signed(setpoint) > 0 else 0.0
        power = min(power, int(same_way + battery.max_ramp_w_s * max(monotonic - past.at, 0.0)))
    return Setpoint(setpoint.mode, power, setpoint.ref)


def _forbidden(setpoint: Setpoint, reading: Reading, battery: Battery, past: Past, monotonic: float) -> bool:
    charging = setpoint.mode is Mode.CHARGE
    if not 0.0 <= reading.soc <= 1.0:
        return True  # nonsense, NaN too
    if (charging and reading.soc >= battery.soc_max) or (not charging and reading.soc <= battery.soc_min):
        return True
    if reading.celsius is not None and not battery.min_celsius <= reading.celsius <= battery.max_celsius:
        return True
    turns = past.direction != 0 and past.direction != (1 if charging else -1)
    return turns and monotonic - past.turned < battery.min_dwell_s


def signed(setpoint: Setpoint) -> float:
    """Watts into the battery."""
    return {Mode.CHARGE: 1.0, Mode.DISCHARGE: -1.0, Mode.HOLD: 0.0}[setpoint.mode] * setpoint.power_w
