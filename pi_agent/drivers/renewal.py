"""When a setpoint has to be written to an inverter: when it is another one, and before the inverter gives it up.

The inverter's own timer is the deadman: an agent that is dead, or a cable that is cut, leaves nothing in force. Writing
only then, and not each control period, spares registers that live in an EEPROM.
"""

from __future__ import annotations

from pi_agent.model import Mode, Setpoint

#: Renewed so often within the timer, so that one or two lost writes do no harm.
WRITES_A_TIMER = 3


class Renewal:
    def __init__(self, revert_s: float) -> None:
        self._every_s = revert_s / WRITES_A_TIMER
        self._held: tuple[Mode, int] | None = None
        self._written = 0.0

    def due(self, setpoint: Setpoint, monotonic: float) -> bool:
        return self._held != (setpoint.mode, setpoint.power_w) or monotonic - self._written >= self._every_s

    def written(self, setpoint: Setpoint, monotonic: float) -> None:
        self._held, self._written = (setpoint.mode, setpoint.power_w), monotonic

    def forget(self) -> None:
        """After a failure nobody knows what is in force."""
        self._held = None
