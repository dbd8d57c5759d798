"""What may become of a command: one table of steps, and functions that ask it. Pure.

A step may be skipped, never taken back; so reports may come twice, late and in any order, and the end is the same as if
only the first final one had come. One end is no knowledge: after `timed_out` a late report still says what was.
"""

from __future__ import annotations

from typing import Literal, get_args

State = Literal["queued", "sent", "delivered", "succeeded", "failed", "rejected", "expired", "timed_out", "superseded"]
STATES: tuple[State, ...] = get_args(State)

_ENDS: frozenset[State] = frozenset({"succeeded", "failed", "rejected", "expired"})
STEPS: dict[State, frozenset[State]] = {
    "queued": frozenset({"sent", "delivered", "superseded", *_ENDS}),
    "sent": frozenset({"delivered", "timed_out", "superseded", *_ENDS}),
    "delivered": frozenset({"timed_out", "superseded", *_ENDS}),
    "timed_out": _ENDS,
    "succeeded": frozenset(),
    "failed": frozenset(),
    "rejected": frozenset(),
    "expired": frozenset(),
    "superseded": frozenset(),
}
OPEN: tuple[State, ...] = ("queued", "sent", "delivered")
FINAL: frozenset[State] = frozenset(STATES) - frozenset(OPEN)
#: Somebody should look at these.
DEAD: tuple[State, ...] = ("failed", "rejected", "expired", "timed_out")

#: How long after its end a command that was sent is waited for. Seconds.
GRACE_S = 60


def advance(state: State, reported: State) -> State:
    """The state after a report: the reported one if the table has that step, else as before."""
    return reported if reported in STEPS[state] else state


def overdue(state: State, seconds_past_end: float) -> State:
    """What time alone makes of a command whose end is so long ago (negative: it is still to come)."""
    if state == "queued" and seconds_past_end >= 0:
        return "expired"
    if state in ("sent", "delivered") and seconds_past_end >= GRACE_S:
        return "timed_out"
    return state


def as_the_monolith_knows(state: State) -> Literal["queued", "sent", "expired"]:
    """Its commands are queued, sent, or expired: no longer to be followed."""
    if state == "queued":
        return "queued"
    return "expired" if state in ("expired", "superseded") else "sent"


def ack_as_the_monolith_knows(state: str) -> str:
    """Its acknowledgements do not tell a command that was refused from one that failed."""
    return "failed" if state == "rejected" else state
