"""A compartment of a domain at one side: so many requests in flight, so many waiting, the rest is refused. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar


class Passenger(Protocol):
    def on_place(self) -> None:
        """A place is free: decide again, and come in if that is still the way. Called at most once per wait."""


P = TypeVar("P", bound=Passenger)


class Compartment(Generic[P]):
    """First come, first served: whoever comes while others wait, waits behind them."""

    __slots__ = ("_waiting", "_waking", "in_flight", "most", "most_waiting")

    def __init__(self, most: int, most_waiting: int) -> None:
        self.most = most
        self.most_waiting = most_waiting
        self.in_flight = 0
        self._waiting: deque[P] = deque()
        self._waking = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kept_back(self) -> P | None:
        """Who waits first although there is room: not for a place, then."""
        return self._waiting[0] if self._waiting and self.in_flight < self.most and not self._waking else None

    def enter(self, passenger: P, *, promised: bool = False) -> Literal["in", "waits", "full"]:
        """`promised`: what has waited in a hold is not refused; the hold room has bounds of its own."""
        if self.in_flight < self.most and (self._waking or not self._waiting):
            self.in_flight += 1
            return "in"
        if len(self._waiting) >= self.most_waiting and not promised:
            return "full"
        self._waiting.append(passenger)
        return "waits"

    def leave(self, ready: Callable[[P], bool] | None = None) -> None:
        """A request in flight has ended."""
        self.in_flight -= 1
        self.wake(ready)

    def wake(self, ready: Callable[[P], bool] | None = None) -> None:
        """Let in who waits while there is room. Not nested: what a passenger does on its way in may end at once.

        `ready`: whether this one could go in now; who could not keeps its turn, and those behind who can go first.
        """
        if self._waking:
            return
        self._waking = True
        try:
            left = len(self._waiting)  # who has to wait again is not asked twice
            while self._waiting and left and self.in_flight < self.most:
                left -= 1
                passenger = next(filter(ready, self._waiting), None) if ready is not None else self._waiting[0]
                if passenger is None:
                    return
                self.forget(passenger)
                passenger.on_place()
        finally:
            self._waking = False

    def forget(self, passenger: P) -> None:
        """It waits no longer."""
        if passenger in self._waiting:
            self._waiting.remove(passenger)
