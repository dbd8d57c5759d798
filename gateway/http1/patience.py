"""The waiting of one exchange: for the end of a hold, for the sync, for a better moment.

Made when there is first something to wait for. It waits in the gateway's hold room, which either releases it (the
exchange decides again) or refuses it (the time is up).
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.http1.recovery import give_up
from gateway.policies.retry import Cause
from gateway.telemetry.trace import note

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange
    from gateway.routing.decision import Side

SYNC_SECONDS = 0.05  # between two looks whether the side has the client's last write
LONGEST_PAUSE = 0.1  # seconds between two attempts
_WAITS = {Cause.HELD: "held", Cause.BEHIND: "synced"}  # what it waited for, as a trace tells it


class Patience:
    __slots__ = ("_cause", "_entered", "_exchange", "_held", "_pauses", "_since", "_unheld", "_written")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._since = 0.0  # when it first had to wait, or an attempt failed; 0: never
        self._pauses = 0
        self._entered = 0.0  # the room
        self._cause = Cause.HELD  # why it is in the room
        self._held = False
        self._unheld = False  # sent although its wave has a hold: that one is too old
        self._written: float | None = None  # the newest write that its read has to wait for

    def deadline(self) -> float:
        """Until when it may wait. Patience begins where the trouble does: a write that worked for seconds before its
        wave moved has as much of it as a new one.
        """
        if not self._since:
            self._since = perf_counter()
        gateway = self._exchange.gateway
        return min(self._since + gateway.patience, self._exchange.started + gateway.settings.total_timeout)

    # for the end of a hold

    def hold_left(self) -> float:
        """Seconds for which the table's hold is still honoured; after them the guard of the database decides alone."""
        gateway, domain = self._exchange.gateway, self._exchange.route.domain
        left = gateway.holds.left(domain)
        if left <= 0 and not self._unheld:
            self._unheld = True
            gateway.meter.count(domain, "hold_expired")
        return left

    def hold(self, ask_after: float) -> None:
        """Wait for a new table, or at most `ask_after` seconds."""
        exchange = self._exchange
        if not self._held:
            self._held = True
            exchange.gateway.meter.count(exchange.route.domain, "held")
        if not self._enter(Cause.HELD, ask_after):
            self.refuse()

    def hold_before_retry(self) -> None:
        """The owner is `moving`: ask again in a moment."""
        self.hold(self._next_pause())

    # for the sync

    def is_ahead_of(self, side: Side) -> bool:
        """This client wrote at the other side a moment ago, and the sync has not brought it to this one yet.

        Only writes of before this read first asked count: later ones must not make it wait for ever.
        """
        exchange = self._exchange
        other = "legacy" if side == "service" else "service"
        if self._written is None:
            self._written = exchange.gateway.last_write(exchange, other)
        return exchange.gateway.board.is_ahead(exchange.route.domain, other, self._written)

    def wrote_since_the_hold(self) -> bool:
        """Of a read whose wave is held: its client has written since, and one side lacks it. Another node, or another
        worker, may know the new owner already, and have passed the write to it; our table names the one before.
        """
        exchange = self._exchange
        since = exchange.gateway.holds.since(exchange.route.domain)
        if not (self.is_ahead_of("legacy") or self.is_ahead_of("service")):
            return False
        return self._written is not None and self._written > since

    def await_sync(self) -> None:
        """Rather a little later than a read that does not see the client's own write."""
        if not self._enter(Cause.BEHIND, SYNC_SECONDS):
            give_up(self._exchange, Cause.BEHIND)

    # for a better moment

    def wait_before_retry(self, cause: Cause) -> None:
        if not self._enter(cause, self._next_pause()):
            give_up(self._exchange, cause)

    def _next_pause(self) -> float:
        self._pauses += 1
        return min(0.02 * self._pauses, LONGEST_PAUSE)

    # in the room

    def _enter(self, cause: Cause, ask_after: float) -> bool:
        self._cause = cause
        self._entered = perf_counter()
        return self._exchange.gateway.room.enter(self, self.deadline(), self._size(), ask_after)

    def _size(self) -> int:
        """Bytes that this request may come to occupy while it waits."""
        exchange = self._exchange
        request, body = exchange.request, exchange.body
        coming = body.size if body.done else max(body.size, exchange.gateway.replay_bytes)
        return len(request.head) + (min(coming, request.length) if request.length else coming)

    @property
    def has_held(self) -> bool:
        """It was told to wait for the end of a hold."""
        return self._held

    def release(self) -> None:
        self._waited()
        self._exchange.again()

    def _waited(self) -> None:
        if self._entered:
            seconds = perf_counter() - self._entered
            self._exchange.waited += seconds
            note(self._exchange, _WAITS.get(self._cause, "paused"), self._entered, seconds)
            self._entered = 0.0

    def refuse(self) -> None:
        """The time in the room is up, or there was no place."""
        self._waited()
        exchange = self._exchange
        if self._cause is Cause.HELD:
            exchange.gateway.meter.count(exchange.route.domain, "held_refused")
        give_up(exchange, self._cause)

    def leave(self) -> None:
        """Nothing is waited for any more."""
        self._waited()
        self._exchange.gateway.room.leave(self)
