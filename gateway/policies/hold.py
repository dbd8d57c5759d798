"""The room where writes wait while their wave changes hands. Bounded in count, bytes and time; first in, first out.

A request leaves the room exactly once: whoever takes it out (a new table, a tick, its deadline, its client leaving)
removes it from the dictionary first, so it can never be both released and refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

TICK = 0.02  # seconds between two looks at deadlines and at owners that were `moving`
LONGEST_REASK = 0.1

log = structlog.get_logger("gateway.hold")


class Waiting(Protocol):
    def release(self) -> None:
        """Decide again, by the table of now."""

    def refuse(self) -> None:
        """The time is up."""


class _Place:
    __slots__ = ("ask_at", "deadline", "size")

    def __init__(self, deadline: float, size: int, ask_at: float | None) -> None:
        self.deadline = deadline
        self.size = size
        self.ask_at = ask_at


class HoldRoom:
    def __init__(
        self,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
        *,
        most: int = 2048,
        most_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._call_later = call_later
        self._most = most
        self._most_bytes = most_bytes
        self._places: dict[Waiting, _Place] = {}
        self._bytes = 0
        self._ticking = False

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, waiting: Waiting, deadline: float, size: int, ask_after: float | None = None) -> bool:
        """Wait for a new table, or at most `ask_after` seconds. False: no room, or no time left."""
        now = self._clock()
        if now >= deadline or len(self._places) >= self._most or self._bytes + size > self._most_bytes:
            return False
        self._places[waiting] = _Place(deadline, size, None if ask_after is None else now + ask_after)
        self._bytes += size
        if not self._ticking:
            self._ticking = True
            self._call_later(TICK, self._tick)
        return True

    def leave(self, waiting: Waiting) -> bool:
        place = self._places.pop(waiting, None)
        if place is None:
            return False
        self._bytes -= place.size
        return True

    def wake_all(self) -> None:
        """The table has changed."""
        for waiting in list(self._places):
            if self.leave(waiting):
                _tell(waiting.release)

    def _tick(self) -> None:
        now = self._clock()
        for waiting, place in list(self._places.items()):
            if now >= place.deadline:
                if self.leave(waiting):
                    _tell(waiting.refuse)
            elif place.ask_at is not None and now >= place.ask_at and self.leave(waiting):
                _tell(waiting.release)
        self._ticking = bool(self._places)
        if self._ticking:
            self._call_later(TICK, self._tick)


def _tell(what: Callable[[], None]) -> None:
    """What goes wrong with one of them must not keep the others here."""
    try:
        what()
    except Exception:
        log.exception("a request could not leave the hold room")
