"""The battery behind one small Protocol; `pi_agent.drivers` has those that there are."""

from __future__ import annotations

from typing import Protocol

from pi_agent.model import Reading, Setpoint


class Driver(Protocol):
    """All raise DriverError when the battery does not answer or refuses. None blocks for longer than two seconds."""

    def read(self) -> Reading: ...

    def apply(self, setpoint: Setpoint) -> None:
        """Take or renew a setpoint; it lapses by itself when it is not renewed for about three control periods."""

    def safe(self) -> None:
        """Neither charge nor discharge."""

    def close(self) -> None:
        """Give back connections; the battery stays as it is."""
