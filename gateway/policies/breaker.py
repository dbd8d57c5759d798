"""A circuit breaker per (domain, side): pybreaker's states, driven from callbacks instead of around a call."""

from __future__ import annotations

import time
from collections.abc import Callable

from pybreaker import CircuitBreaker, CircuitBreakerListener

StateListener = Callable[[str, str, str], None]  # domain, side, new state


class UpstreamFailed(Exception):
    """Told to pybreaker when a call of a side failed: no connection, no answer in time, a broken answer, a 5xx."""


def _fail() -> None:
    raise UpstreamFailed


class _Listener(CircuitBreakerListener):
    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard

    def state_change(self, cb: object, old_state: object, new_state: object) -> None:
        self._heard(str(getattr(new_state, "name", "")))


class Breaker:
    """`closed` is kept by the listener, so that the common case costs one attribute."""

    def __init__(
        self,
        domain: str,
        side: str,
        *,
        fail_max: int,
        reset_timeout: float,
        on_change: StateListener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.domain = domain
        self.side = side
        self.closed = True
        self.opened = 0  # how often, for the metrics
        self._failures = 0
        self._on_change = on_change
        self._clock = clock
        self._reset_timeout = reset_timeout
        self._opened_at = 0.0
        self._probing_since: float | None = None
        self._breaker = CircuitBreaker(
            fail_max=fail_max,
            reset_timeout=reset_timeout,
            listeners=[_Listener(self._changed)],
            name=f"{domain}.{side}",
            throw_new_error_on_trip=False,
        )

    @property
    def state(self) -> str:
        return self._breaker.current_state

    def usable(self) -> bool:
        """Would a call be let through now?"""
        return self.closed or self._probe_is_due()

    def admit(self) -> bool:
        """Let one call through; while not closed only one probe at a time, so that recovery is no stampede."""
        if self.closed:
            return True
        if not self._probe_is_due():
            return False
        if self.state == "open":
            self._breaker.half_open()
        self._probing_since = self._clock()
        return True

    def success(self) -> None:
        if self.closed and not self._failures:
            return
        self._failures = 0
        self._probing_since = None
        if self.state != "open":  # an answer to a call from before it opened proves nothing
            self._breaker.call(_nothing)

    def failure(self) -> None:
        self._failures += 1
        self._probing_since = None
        if self.state == "open":
            return
        try:
            self._breaker.call(_fail)
        except UpstreamFailed:
            pass

    def abandoned(self) -> None:
        """The call ended without a verdict (the client left): another probe may go."""
        self._probing_since = None

    def recovered(self) -> None:
        """The health check answers again: do not wait for the rest of the reset time."""
        if self.state == "open":
            self._breaker.half_open()
            self._probing_since = None

    def _probe_is_due(self) -> bool:
        now = self._clock()
        if self.state == "open" and now < self._opened_at + self._reset_timeout:
            return False
        # A probe that never came back must not keep the breaker open for ever.
        return self._probing_since is None or now > self._probing_since + self._reset_timeout

    def _changed(self, name: str) -> None:
        self.closed = name == "closed"
        if name == "open":
            self.opened += 1
            self._opened_at = self._clock()
            self._failures = 0
        self._on_change(self.domain, self.side, name)


def _nothing() -> None:
    return None
