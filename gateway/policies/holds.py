"""How long a hold of the table is honoured.

A hold keeps writes away from a database while its wave changes hands; it makes the pause short and is not what makes it
safe: that is the guard. So a hold whose end never comes (its controller is dead, or the table with its end has not
reached this node) ends by itself, and the guard accepts a write or answers 421.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.control.table import RouteTable, Wave


@dataclass(frozen=True, slots=True)
class _Hold:
    waves: tuple[Wave, ...]  # what is held; another hold has its own time
    until: float
    since: float  # wall-clock seconds, as pins are counted


class Holds:
    """The holds of the table in force, by domain."""

    def __init__(self, seconds: float, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._clock = clock
        self._wall = wall
        self._holds: dict[str, _Hold] = {}

    def take(self, table: RouteTable) -> None:
        """A table that says the same of a domain's held waves, because it was published for another, adds no time."""
        until, now = self._clock() + self._seconds, self._wall()
        found = {}
        for name, domain in table.domains.items():
            waves = tuple(wave for wave in domain.waves if wave.hold or wave.owner == "moving")
            known = self._holds.get(name)
            if waves:
                if known is None or known.waves != waves:
                    known = _Hold(waves, until, known.since if known is not None else now)
                found[name] = known
        self._holds = found

    def left(self, domain: str) -> float:
        """Seconds; nothing is left where nothing is held."""
        hold = self._holds.get(domain)
        return hold.until - self._clock() if hold is not None else 0.0

    def since(self, domain: str) -> float:
        """When this node took it, wall-clock seconds; never where nothing is held."""
        hold = self._holds.get(domain)
        return hold.since if hold is not None else float("inf")
