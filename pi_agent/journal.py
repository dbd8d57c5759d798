"""The journal's rules, apart from where it is kept: which step follows which, and what a keeper of it can do.

    received → intent → acted → result → sent → settled

Before the battery is touched the intent is on disk; what came of it is on disk, with its ack, before the ack is sent.
Killed between two steps, the agent finds out at its next start what it had done: see `Controller.start`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Protocol

from pi_agent.model import Ack, AckState, Command, Document, Schedule, Setpoint


class Step(Enum):
    """The points between which a kill or a power cut must do no harm; drills stop the agent at them by name."""

    RECEIVED = "received"
    INTENT = "intent"
    ACTED = "acted"
    RESULT = "result"
    EXPIRED = "expired"
    SENT = "sent"
    SETTLED = "settled"
    TRIAL = "trial"
    COMMITTED = "committed"
    SAFE = "safe"


class Entry(Enum):
    """What the journal says of one ref."""

    INTENT = "intent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"


#: A slot that failed stays in force and may succeed yet; all else that has a result keeps it.
_NEXT: dict[Entry | None, frozenset[Entry]] = {
    None: frozenset({Entry.INTENT, Entry.EXPIRED}),
    Entry.INTENT: frozenset({Entry.SUCCEEDED, Entry.FAILED, Entry.REJECTED, Entry.EXPIRED}),
    Entry.FAILED: frozenset({Entry.SUCCEEDED}),
    Entry.SUCCEEDED: frozenset(),
    Entry.REJECTED: frozenset(),
    Entry.EXPIRED: frozenset(),
}


def follows(before: Entry | None, after: Entry) -> bool:
    """Whether a ref's entry may become `after`."""
    return after in _NEXT[before]


@dataclass(frozen=True, slots=True)
class Pending:
    """An ack that waits for its delivery to the backend that issued what it tells of."""

    seq: int
    ack: Ack
    issuer: str


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    pending: int
    refused: int
    dropped: int


class Journal(Protocol):
    """Each call is one transaction, durable when it returns. All that it keeps is bounded."""

    def schedule(self) -> Schedule: ...

    def commands(self) -> list[Command]:
        """Those without a final state: never begun, begun, or in force."""

    def receive(self, document: Document, now: datetime, issuer: str) -> bool:
        """Keep what a poll brought and acknowledge what is new; True when something was. Ignores an older schedule."""

    def intend(self, setpoint: Setpoint, kind: str, now: datetime, issuer: str) -> None:
        """Written before the battery is touched; a ref that has an entry keeps it."""

    def open_intents(self) -> list[tuple[str, str]]:
        """(ref, kind) of what was begun and has no result: the agent was killed between."""

    def state_of(self, ref: str) -> Entry | None: ...

    def record(self, ref: str, state: AckState, now: datetime, note: str = "") -> None:
        """The result and its ack. A command that failed is over. A result that does not follow changes nothing."""

    def expire(self, commands: Iterable[Command], now: datetime) -> int:
        """Put away commands whose time is over, and acknowledge those that never ran; returns how many."""

    def pending(self, limit: int, issuer: str | None = None) -> list[Pending]:
        """The next acks, of one issuer or of all: in order, those that were refused before at the end."""

    def issuers(self) -> list[str]:
        """Whoever has acks to get, the longest waiting first."""

    def accepted(self, seqs: Sequence[int]) -> None: ...

    def refused(self, seqs: Sequence[int], max_refusals: int) -> None:
        """Count a refusal; at `max_refusals` the ack is given up, and stays recorded as refused."""

    def counts(self) -> OutboxCounts: ...

    def setting(self, name: str) -> object:
        """A value that was `set`, or None."""

    def set(self, name: str, value: object) -> None: ...

    def close(self) -> None: ...


def with_fallback(known: Schedule, said: Schedule) -> Schedule:
    """The known schedule with what the same version of it says of the fallback, if it says anything."""
    if said.version != known.version or said.version == 0 or said.fallback is None:
        return known
    return replace(known, fallback=said.fallback, fallback_after_s=said.fallback_after_s)


def plain(note: str) -> str:
    """As both contracts take it: one line of at most 200 characters."""
    return "".join(c if c.isprintable() else " " for c in note)[:200]
