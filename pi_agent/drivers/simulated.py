"""A simulated battery. It lives outside the agent as real hardware does: its state is a file that survives the agent's
death, and it has a deadman of its own: a setpoint that nobody renews lapses.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from pi_agent.clock import Clock
from pi_agent.config import Battery
from pi_agent.errors import DriverError
from pi_agent.limits import signed
from pi_agent.model import Reading, Setpoint


class SimulatedBattery:
    """Integrates power over wall time; loses nothing; stops at empty and full."""

    def __init__(self, battery: Battery, state: Path | None, clock: Clock, lapse_s: float) -> None:
        """`state` None: in memory, for simulated fleets."""
        self._battery = battery
        self._state = state
        self._clock = clock
        self._lapse_s = lapse_s
        self._soc, self._power_w, self._ref, self._renewed = self._load()
        self._integrated = self._renewed

    def _load(self) -> tuple[float, float, str, datetime]:
        if self._state is None:
            return self._battery.initial_soc, 0.0, "", self._clock.now()
        try:
            saved = json.loads(self._state.read_text())
            return float(saved["soc"]), float(saved["power_w"]), saved["ref"], datetime.fromisoformat(saved["renewed"])
        except FileNotFoundError:
            return self._battery.initial_soc, 0.0, "", self._clock.now()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DriverError(f"the simulated battery's state {self._state} cannot be read: {error}") from error

    def _save(self) -> None:
        if self._state is None:
            return
        saved = {"soc": self._soc, "power_w": self._power_w, "ref": self._ref, "renewed": self._renewed.isoformat()}
        temporary = self._state.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(saved))
            temporary.replace(self._state)
        except OSError as error:
            raise DriverError(f"the simulated battery's state cannot be written: {error}") from error

    def _integrate(self) -> None:
        """Move the energy since last time, but none past the moment at which the setpoint lapsed."""
        now = self._clock.now()
        until_lapse = self._lapse_s - (self._integrated - self._renewed).total_seconds()
        elapsed = min((now - self._integrated).total_seconds(), until_lapse)
        if elapsed > 0:
            moved = self._power_w * elapsed / 3600 / self._battery.capacity_wh
            self._soc = min(max(self._soc + moved, 0.0), 1.0)
        self._integrated = now
        if (now - self._renewed).total_seconds() >= self._lapse_s and self._power_w:
            self._power_w = 0.0
            self._trace("lapsed", now)

    def read(self) -> Reading:
        self._integrate()
        stopped = (self._soc >= 1.0 and self._power_w > 0) or (self._soc <= 0.0 and self._power_w < 0)
        return Reading(soc=self._soc, power_w=0.0 if stopped else self._power_w, ref=self._ref)

    def apply(self, setpoint: Setpoint) -> None:
        if setpoint.power_w > self._battery.max_power_w:
            raise DriverError(f"{setpoint.power_w} W is more than the battery's {self._battery.max_power_w} W")
        self._take(signed(setpoint), setpoint.ref)

    def safe(self) -> None:
        self._take(0.0, self._ref)

    def close(self) -> None:
        """Its state is on disk."""

    def _take(self, power_w: float, ref: str) -> None:
        self._integrate()
        now = self._clock.now()
        changed = (power_w, ref) != (self._power_w, self._ref)
        self._power_w, self._ref, self._renewed, self._integrated = power_w, ref, now, now
        self._save()
        if changed:
            self._trace("took", now)

    def _trace(self, event: str, now: datetime) -> None:
        """One line a change, for drills and tests that ask afterwards what the battery really did."""
        if self._battery.trace is None:
            return
        line = {
            "at": now.isoformat(),
            "event": event,
            "power_w": self._power_w,
            "ref": self._ref,
            "soc": round(self._soc, 6),
        }
        with self._battery.trace.open("a") as trace:
            trace.write(json.dumps(line) + "\n")
