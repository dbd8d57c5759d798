"""A circuit breaker per (domain, side, class): pybreaker's states, driven from callbacks instead of around a call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pybreaker import CircuitBreaker, CircuitBreakerListener

from gateway.control.resilience import Breaker as Rule
from gateway.policies.budget import RetryBudget

if TYPE_CHECKING:
    from gateway.http1.admission import Door

StateListener = Callable[[str, str, str], None]  # domain, side, new state
MOST_DOUBLINGS = 3  # of the reset time
MARKS = 10  # in a window


class UpstreamFailed(Exception):
    """Told to pybreaker when a call of a side failed: no connection, no answer in time, a broken answer, a 5xx."""


def _fail() -> None:
    raise UpstreamFailed


class _Listener(CircuitBreakerListener):
    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard

    def state_change(self, cb: object, old_state: object, new_state: object) -> None:
        self._heard(str(getattr(new_state, "name", "")))


class FailureShare:
    """The share of failures among the calls of the last `window` seconds, worked out only when one fails.

    A mark is (time, calls, failures) from before a failure. The window begins at its oldest mark, so with a failure:
    successes before it are not counted, and what is counted is never older than `window`.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()
        self._failures = 0

    def failed(self, now: float, calls: int, window: float) -> tuple[int, int]:
        """`calls`: all ever, with this one. (failures, calls) of the window."""
        marks = self._marks
        while marks and marks[0][0] < now - window:
            marks.popleft()
        if not marks or now - marks[-1][0] >= window / MARKS:
            marks.append((now, calls - 1, self._failures))
        self._failures += 1
        _, calls_before, failures_before = marks[0]
        return self._failures - failures_before, calls - calls_before

    def forget(self) -> None:
        self._marks.clear()


class Breaker:
    """`closed` is kept by the listener, so that the common case costs one attribute."""

    door: Door | None = None  # what else stands before this side; None: nothing does

    def __init__(
        self,
        domain: str,
        side: str,
        *,
        rule: Rule,
        reset: float,
        on_change: StateListener,
        budget: RetryBudget | None = None,
        kin: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.domain = domain
        self.side = side
        self.closed = True
        self.calm = True  # closed, and the newest call did not fail: a good one need only be counted
        self.costly = False  # the newest failure was a time-out: each further call would be waited for
        self._kin = kin  # its operations belong together; else one that hangs says nothing of the others
        self.calls = 0  # judged so far
        self.opened = 0  # how often, for the metrics
        self.budget = budget or RetryBudget(clock=clock)
        self._paid = 0  # calls that the budget has seen
        self._in_a_row = 0
        self._share = FailureShare()
        self._on_change = on_change
        self._clock = clock
        self._opened_at = 0.0
        self._reopened = 0  # by probes, since it last was closed
        self._probe: object | None = None  # whose call is the probe: its verdict counts, and nobody else's
        self._probing_since = 0.0
        self._breaker = CircuitBreaker(
            fail_max=rule.failures,
            reset_timeout=reset,
            listeners=[_Listener(self._changed)],
            name=f"{domain}.{side}",
            throw_new_error_on_trip=False,
        )
        self.obey(rule, reset)

    def obey(self, rule: Rule, reset: float) -> None:
        """The rule of a new table; state and counts stay."""
        self.rule = rule
        self._reset = reset
        self._breaker.fail_max = rule.failures
        self._breaker.success_threshold = rule.probes

    @property
    def state(self) -> str:
        return self._breaker.current_state

    def usable(self) -> bool:
        """Would a call be let through now?"""
        return self.closed or self._probe_is_due()

    def admit(self, who: object) -> bool:
        """Let one call through; while not closed only one probe at a time, so that recovery is no stampede.

        `who` has the probe's place until it says how its call ended, or until it is given up for lost.
        """
        if self.closed:
            return True
        if self._probe is not who and not self._probe_is_due():
            return False
        if self.state == "open":
            self._breaker.half_open()
        self._probe, self._probing_since = who, self._clock()
        return True

    def success(self, who: object) -> None:
        """While not closed only the probe's answer counts: that to a call from before it opened proves nothing."""
        self.calls += 1
        if self.closed:
            if not self._in_a_row:
                return
        elif not self._gives_up_place(who):
            return
        self._in_a_row = 0
        self._breaker.call(_nothing)
        self.calm = self.closed

    def failure(self, who: object, *, costly: bool = False) -> None:
        """`costly`: a time-out."""
        self.calls += 1
        self._in_a_row += 1
        self.calm = False
        self.costly = costly and self._kin
        failures, calls = self._share.failed(self._clock(), self.calls, self.rule.window)
        if not self.closed:
            if not self._gives_up_place(who):
                return
            self._reopened += 1
        try:
            self._breaker.call(_fail)
        except UpstreamFailed:
            pass
        percent = self.rule.failure_percent
        if self.closed and percent and calls >= self.rule.minimum and failures * 100 >= percent * calls:
            self._breaker.open()

    def abandoned(self, who: object) -> None:
        """Its call ended without a verdict (the client left): if it was the probe, another one may go."""
        self._gives_up_place(who)

    def _gives_up_place(self, who: object) -> bool:
        """Whether it had the probe's."""
        if self._probe is not who:
            return False
        self._probe = None
        return True

    def recovered(self) -> None:
        """The health check answers again: do not wait for the rest of the reset time."""
        if self.state == "open":
            self._breaker.half_open()

    def may_retry(self) -> bool:
        """Take one retry from the budget, which grows with the calls."""
        self.budget.deposit(self.calls - self._paid)
        self._paid = self.calls
        return self.budget.take()

    @property
    def reset_seconds(self) -> float:
        """From opening to the first probe."""
        return float(self._reset * 2 ** min(self._reopened, MOST_DOUBLINGS))

    def _probe_is_due(self) -> bool:
        now = self._clock()
        if self.state == "open" and now < self._opened_at + self.reset_seconds:
            return False
        # A probe that never came back must not keep the breaker open for ever.
        return self._probe is None or now > self._probing_since + self.reset_seconds

    def _changed(self, name: str) -> None:
        self.closed = name == "closed"
        if name == "open":
            self.opened += 1
            self._opened_at = self._clock()
            self._in_a_row = 0
        elif name == "closed":
            self._reopened = 0
            self.costly = False
            self._share.forget()
        self._on_change(self.domain, self.side, name)


def _nothing() -> None:
    return None
