"""A compartment of a domain at one side: so many requests in flight, so many waiting, the rest is refused. Pure."""

from __future__ import annotations

from collections import deque
from typing import Literal, Protocol


class Passenger(Protocol):
    def on_place(self) -> None:
        """A place is free: decide again, and come in if that is still the way. Called at most once per wait."""


class Compartment:
    """First come, first served: whoever comes while others wait, waits behind them."""

    __slots__ = ("_waiting", "_waking", "in_flight", "most", "most_waiting")

    def __init__(self, most: int, most_waiting: int) -> None:
        self.most = most
        self.most_waiting = most_waiting
        self.in_flight = 0
        self._waiting: deque[Passenger] = deque()
        self._waking = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter(self, passenger: Passenger, *, promised: bool = False) -> Literal["in", "waits", "full"]:
        """`promised`: what has waited in a hold is not refused; the hold room has bounds of its own."""
        if self.in_flight < self.most and (self._waking or not self._waiting):
            self.in_flight += 1
            return "in"
        if len(self._waiting) >= self.most_waiting and not promised:
            return "full"
        self._waiting.append(passenger)
        return "waits"

    def leave(self) -> None:
        """A request in flight has ended."""
        self.in_flight -= 1
        self.wake()

    def wake(self) -> None:
        """Let in who waits while there is room. Not nested: what a passenger does on its way in may end at once."""
        if self._waking:
            return
        self._waking = True
        try:
            left = len(self._waiting)  # who has to wait again is not asked twice
            while self._waiting and left and self.in_flight < self.most:
                left -= 1
                self._waiting.popleft().on_place()
        finally:
            self._waking = False

    def forget(self, passenger: Passenger) -> None:
        """It waits no longer."""
        if passenger in self._waiting:
            self._waiting.remove(passenger)
