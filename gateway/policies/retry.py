"""What happens after an attempt failed. Pure: the exchange carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """Why an attempt failed; the value is the status and the words for the client if nothing else helps."""

    CONNECT = (503, "the server behind this gateway cannot be reached")
    STALE = (502, "the server behind this gateway closed the connection")
    LOST = (502, "the server behind this gateway ended the connection before its answer was complete")
    BROKEN = (502, "the server behind this gateway gave a malformed answer")
    TIMEOUT = (504, "the server behind this gateway did not answer in time")
    OVERFLOW = (503, "too many requests wait for the server behind this gateway")
    ERROR = (502, "the server behind this gateway failed")  # a 5xx of its own; never shown, its answer is passed on
    HELD = (503, "this data is being moved; the request was not carried out")
    BEHIND = (503, "the server behind this gateway is failing, and the other one does not have your last write yet")
    OPEN = (503, "the server behind this gateway is failing; the request was not carried out")

    REHEARSAL = (501, "the monolith cannot rehearse: a dry run there would be the real thing; nothing was done")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def detail(self) -> str:
        return self.value[1]

    @property
    def unsent(self) -> bool:
        """Nothing of the request has reached the server, so sending it again cannot do it twice."""
        return self in (Cause.CONNECT, Cause.OVERFLOW, Cause.HELD, Cause.OPEN)


class Step(Enum):
    FALLBACK = "fallback"  # legacy answers this read
    AGAIN = "again"  # at once, on a fresh connection
    WAIT = "wait"  # a moment, then decide again
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Attempt:
    """`idempotent`: by method or by the plan, which may ask for an Idempotency-Key.

    `replayable`: the whole body is still at hand.
    """

    cause: Cause
    is_read: bool
    idempotent: bool
    replayable: bool
    has_fallback: bool
    time_left: bool
    fresh_tried: bool


def next_step(attempt: Attempt) -> Step:
    """The order of the cases is the priority. Before a WAIT of what was sent the caller asks its retry budget."""
    cause = attempt.cause
    if not attempt.replayable:
        return Step.REFUSE
    if cause is Cause.STALE and attempt.idempotent and not attempt.fresh_tried:
        return Step.AGAIN
    if attempt.is_read and attempt.has_fallback:
        return Step.FALLBACK
    if not attempt.time_left or cause in (Cause.OVERFLOW, Cause.BROKEN, Cause.ERROR, Cause.TIMEOUT):
        return Step.REFUSE
    if cause.unsent or attempt.idempotent:
        return Step.WAIT
    return Step.REFUSE
