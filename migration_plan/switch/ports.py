"""What a switch needs of the outside: two databases, a stream, the gateways, a journal (see `adapters.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from migration_plan.journey import Stand
from migration_plan.plan import Side

Owner = Literal["legacy", "service", "moving"]


@dataclass(frozen=True, slots=True)
class Owned:
    """A wave's row in one database's ownership table."""

    owner: Owner
    epoch: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """A fence that stands: nobody accepts the wave's writes, and the marker is in the owner's WAL at `lsn`."""

    epoch: int
    lsn: str


class FenceTimeout(Exception):
    """The fence did not get its locks within the lock timeout; nothing was changed. `held_by`: by whom, if known."""

    def __init__(self, message: str, held_by: str | None = None) -> None:
        super().__init__(message)
        self.held_by = held_by


class EpochMoved(Exception):
    """The row's epoch is not the expected one: another controller was here."""


class CatchUpTimeout(Exception):
    """The fence's marker was not applied in time."""


class ChangesParked(Exception):
    """The target refused changes that the source had accepted: the marker is there, and they are not."""


class SequencesClash(Exception):
    """The new owner would hand out ids that the old one may have used."""


class OwnershipTable(Protocol):
    """A wave's row in the database of one side. Every call may raise Unreachable."""

    def read(self) -> Owned: ...

    def fence(self, expected_epoch: int) -> Fenced:
        """Lock the tables, owner := moving, epoch + 1, marker into the WAL. Raises: FenceTimeout, EpochMoved."""
        ...

    def set_owner(self, owner: Side, expected_epoch: int, new_epoch: int, *, answer_s: float | None = None) -> None:
        """`answer_s`: Unreachable unless it is answered within so many seconds, over the connection that the last call
        used; it may be carried out all the same. Raises: EpochMoved.
        """
        ...


class Stream(Protocol):
    """The stream from the side that gives the writes away to the side that takes them."""

    def wait_fence(self, fenced: Fenced, timeout_s: float) -> None:
        """Until everything before the fence is applied or parked. Raises: CatchUpTimeout, Unreachable."""
        ...

    def check_parked(self) -> dict[str, Any]:
        """See that no change before the marker was parked. Raises: ChangesParked, Unreachable."""
        ...

    def check_sequences(self) -> dict[str, Any]:
        """See that the target hands out ids of its own range. Raises: SequencesClash, Unreachable."""
        ...


class Routes(Protocol):
    """The gateways' route table."""

    def hold(self) -> bool:
        """Ask for the wave's writes to wait; bounded. False when no gateway took it: the guard alone decides."""
        ...

    def publish(self, owned: Owned, stand: Stand) -> dict[str, Any]:
        """Route by `owned` and `stand` and release held writes; changes nothing if the table says so already.

        Raises: Unreachable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the journal: `at` is 'begin', 'done', 'failed' or 'arrived'."""

    step: str
    at: str
    epoch: int | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    why: str | None = None


class Journal(Protocol):
    def write(self, notes: Sequence[Note], stand: Stand | None = None, owned: Owned | None = None) -> None:
        """Record the notes durably, and where the wave stands from now on if `stand` and `owned` are given."""
        ...


class Checks(Protocol):
    """What is looked at before and after."""

    def preflight(self) -> dict[str, Any]:
        """Raises: Refused."""
        ...

    def verify(self) -> dict[str, Any]:
        """Compare both sides, bounded; a difference is reported in the result, not raised."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    legacy: OwnershipTable
    service: OwnershipTable
    stream: Stream
    routes: Routes
    journal: Journal
    checks: Checks

    def table(self, side: Side) -> OwnershipTable:
        return self.legacy if side == "legacy" else self.service


def other(side: Side) -> Side:
    return "service" if side == "legacy" else "legacy"
