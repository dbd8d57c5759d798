"""What stands before one side of a domain, where the table asks for it: a bulkhead, a limit that follows latency."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.http1.recovery import recover
from gateway.meter import Meter
from gateway.policies.bulkhead import Compartment
from gateway.policies.retry import Cause
from gateway.policies.shedding import Limiter

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


class Stay:
    """Of one attempt inside a door. `leave` is idempotent: whoever ends the attempt first calls it."""

    __slots__ = ("_door", "_left", "_since", "_ticket")

    def __init__(self, door: Door, measured: bool) -> None:
        self._door = door
        self._left = False
        self._ticket = door.limiter.ticket() if door.limiter is not None else 0
        self._since = perf_counter() if measured else 0.0

    def answered(self, operation: str) -> None:
        """The head of the answer is here. What had a body still to come from the client says nothing of the server."""
        limiter = self._door.limiter
        if limiter is not None and self._since:
            limiter.answered(operation, perf_counter() - self._since, self._ticket)

    def timed_out(self) -> None:
        if self._door.limiter is not None:
            self._door.limiter.timed_out()

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._door.left()


class Door:
    def __init__(
        self, domain: str, compartment: Compartment[Exchange] | None, limiter: Limiter | None, meter: Meter
    ) -> None:
        self.domain = domain
        self.compartment = compartment
        self.limiter = limiter
        self._meter = meter
        self._ready = self._may_go_in if limiter is not None else None

    def enter(self, exchange: Exchange) -> bool:
        """Whether it may go on now. If not it waits here (`on_place`), or has been answered or sent elsewhere.

        The limiter is asked first: who is shed has never been in anybody's way.
        """
        compartment, limiter = self.compartment, self.limiter
        if limiter is not None and not self._may_go_in(exchange):
            self._meter.count(self.domain, "shed")
            recover(exchange, Cause.SHED)
            return False
        if compartment is not None:
            verdict = compartment.enter(exchange, promised=exchange.has_waited)
            if verdict == "waits":
                exchange.queue = compartment
                exchange.touched = exchange.gateway.now
                return False
            if verdict == "full":
                self._meter.count(self.domain, "bulkhead_full")
                recover(exchange, Cause.FULL)
                return False
        if limiter is not None:
            limiter.admit(read=exchange.read, promised=exchange.has_waited)
        exchange.stay = Stay(self, measured=limiter is not None and exchange.body.done)
        return True

    def _may_go_in(self, exchange: Exchange) -> bool:
        assert self.limiter is not None
        return self.limiter.has_room(read=exchange.read, promised=exchange.has_waited)

    def left(self) -> None:
        compartment, limiter = self.compartment, self.limiter
        if limiter is not None:
            limiter.leave()
        if compartment is None:
            return
        compartment.leave(self._ready)
        # A place is free, but the limit reached. A read that legacy can answer goes there: one for each that leaves, so
        # that a moment at the limit does not send a whole queue to the monolith.
        if limiter is not None and (first := compartment.kept_back) is not None:
            if first.has_fallback:
                compartment.forget(first)
                first.on_place()
            self._keep_back()

    def wake(self) -> None:
        """The limiter may have room for somebody who waits here."""
        if self.compartment is not None:
            self.compartment.wake(self._ready)
            self._keep_back()

    def _keep_back(self) -> None:
        """Who waits for the limit and not for a place keeps its turn, and is called when somebody leaves the server."""
        if self.compartment is not None and self.limiter is not None and self.compartment.kept_back is not None:
            self.limiter.call_back(self.wake)

    def snapshot(self) -> dict[str, int]:
        compartment = self.compartment
        return {
            "in_flight": compartment.in_flight if compartment is not None else 0,
            "waiting": compartment.waiting if compartment is not None else 0,
        }
