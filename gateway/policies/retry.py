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
    SLOW = (504, "the server behind this gateway did not answer this try in time")
    OVERFLOW = (503, "too many requests wait for the server behind this gateway")
    FULL = (503, "too many requests for this part of the site are under way; the request was not carried out")
    SHED = (503, "the server behind this gateway is at its limit; the request was not carried out")
    ERROR = (502, "the server behind this gateway failed")  # a 5xx of its own; never shown, its answer is passed on
    UNREAD = (499, "the client did not read the answer")  # never shown
    HELD = (503, "this data is being moved; the request was not carried out")
    BEHIND = (503, "the server that could answer this does not have your last write yet")
    OPEN = (503, "the server behind this gateway is failing; the request was not carried out")

    CERTIFICATE = (502, "the server behind this gateway cannot be trusted: its certificate is not valid")
    HANDSHAKE = (502, "the server behind this gateway and it could not agree on a secure connection")
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
        return self in _UNSENT

    @property
    def denies(self) -> bool:
        """It tells the client that nothing was done: true only if no attempt before it may have done it."""
        return self in _DENIALS

    @property
    def blames(self) -> bool:
        """The side has failed; what the gateway itself keeps back says nothing of it."""
        return self not in _BLAMELESS

    @property
    def word(self) -> str:
        """For the access log."""
        return self.name.lower().replace("_", "-")


_UNSENT = frozenset(
    (Cause.CONNECT, Cause.CERTIFICATE, Cause.HANDSHAKE, Cause.OVERFLOW, Cause.FULL, Cause.SHED, Cause.HELD, Cause.OPEN)
)
_DENIALS = frozenset((Cause.FULL, Cause.SHED, Cause.HELD, Cause.OPEN))
_BLAMELESS = frozenset(
    (
        Cause.STALE,
        Cause.OVERFLOW,
        Cause.FULL,
        Cause.SHED,
        Cause.UNREAD,
        Cause.HELD,
        Cause.BEHIND,
        Cause.OPEN,
    )
)
_CROWDED = frozenset((Cause.OVERFLOW, Cause.FULL, Cause.SHED))  # waiting would only add to the crowd
# A moment later it would be the same.
_FINAL = frozenset((Cause.BROKEN, Cause.ERROR, Cause.TIMEOUT, Cause.SLOW, Cause.CERTIFICATE, Cause.HANDSHAKE))
MOST_ELSEWHERE = 2  # tries of one request on other servers of the side


class Step(Enum):
    FALLBACK = "fallback"  # legacy answers this read
    AGAIN = "again"  # at once, on a fresh connection
    ELSEWHERE = "elsewhere"  # at once, on another server of the side, or the same if there is only one
    WAIT = "wait"  # a moment, then decide again
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Attempt:
    """`idempotent`: by method or by the plan, which may ask for an Idempotency-Key.

    `replayable`: the whole body is still at hand. `others`: the side has servers that this request has not failed on.
    `elsewhere`: how often it was tried on another one.
    """

    cause: Cause
    is_read: bool
    idempotent: bool
    replayable: bool
    has_fallback: bool
    time_left: bool
    fresh_tried: bool
    others: bool = False
    elsewhere: int = 0


def next_step(attempt: Attempt) -> Step:
    """The order of the cases is the priority. Before it sends again what was sent the caller asks its retry budget."""
    cause = attempt.cause
    if not attempt.replayable:
        return Step.REFUSE
    if cause is Cause.STALE and attempt.idempotent and not attempt.fresh_tried:
        return Step.AGAIN
    if attempt.elsewhere < MOST_ELSEWHERE and _can_go_elsewhere(attempt):
        return Step.ELSEWHERE
    if attempt.is_read and attempt.has_fallback:
        return Step.FALLBACK
    if not attempt.time_left or cause in _CROWDED or cause in _FINAL:
        return Step.REFUSE
    if cause.unsent or attempt.idempotent:
        return Step.WAIT
    return Step.REFUSE


def _can_go_elsewhere(attempt: Attempt) -> bool:
    """Another server of the side may do better at once. After a whole time-out nobody has the time for it."""
    match attempt.cause:
        case Cause.CONNECT:
            return attempt.others
        case Cause.LOST | Cause.BROKEN:
            return attempt.others and attempt.idempotent
        case Cause.ERROR | Cause.SLOW:  # a server that is alone may do better itself, unless legacy can
            return attempt.idempotent and (attempt.others or not (attempt.is_read and attempt.has_fallback))
    return False
