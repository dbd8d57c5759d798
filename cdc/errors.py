"""What can go wrong in change data capture; every message says what happened and what to do.

CdcError
├── ConfigError          the stream file, the environment or the mapping is wrong
├── NotPrepared          the stream's objects (publication, slot, origin, state) are missing
├── TableRefused         a table cannot be captured or written as it is (no key, no identity)
├── SlotLost             the slot is missing or invalidated: its changes are gone
├── SlotAhead            the slot has moved past the target's position: changes would be skipped
├── WrongSource          the source is not the cluster that the position belongs to
├── SchemaChanged        a table changed its shape: the stream stands until a person resumes it
├── NotReady             a stream may not be resumed yet: mapping and schemas do not fit
├── TargetRefused        the target refuses the stream as a whole (rights, guard, missing table)
├── TargetOwns           the target side owns what a fill or a replay would overwrite: nothing was written
├── RowMissing           a partial update met no row; the applier parks its key
├── TooManyParked        so many keys are poison that something else is wrong
├── FenceTimeout         the fence marker did not come through in time
├── ProtocolError        the server sent what pgoutput does not define
├── EnvelopeError        a JSON event is not a change in Debezium's shape
└── Transient            a connection or lock failed: trying again helps
    ├── SpoolFull        large open transactions do not fit on our disk: the server keeps them from now on
    ├── SlotTaken        another program reads the slot
    └── AtWork           another process applies this stream at the moment
"""

from __future__ import annotations

from typing import Literal


def first_line(error: BaseException) -> str:
    """What a person reads of an error: its first line with words, white space folded. libpq's go on for several."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


class CdcError(Exception):
    """Base of all errors that a person is meant to read."""


class ConfigError(CdcError):
    """Raised when the stream file, the environment or the mapping cannot be used."""


class NotPrepared(CdcError):
    """Raised when the stream's publication, slot, origin or state row is missing."""


class TableRefused(CdcError):
    """Raised by prepare when a table has no key, or no replica identity that covers it."""


class SlotLost(CdcError):
    """Raised when the replication slot is gone or its WAL was removed."""


class SlotAhead(CdcError):
    """Raised when the slot's confirmed position is past the target's: resuming would skip changes."""


class WrongSource(CdcError):
    """Raised when the source is another cluster, or an older copy, than the one the position was read from."""


class SchemaChanged(CdcError):
    """Raised before the first row of a table's new shape. `lsn`: commit of the source's change, None at the target."""

    def __init__(
        self, message: str, *, side: Literal["source", "target"] = "source", table: str = "", lsn: int | None = None
    ) -> None:
        super().__init__(message)
        self.side, self.table, self.lsn = side, table, lsn


class NotReady(CdcError):
    """Raised when a halted stream may not go on yet. Nothing was changed."""


class TargetRefused(CdcError):
    """Raised when the target's answer is about the stream, not about one row."""


class TargetOwns(CdcError):
    """Raised when a fill or a replay would overwrite rows whose newest version is the target's own."""


class RowMissing(CdcError):
    """Raised inside the applier when a partial (TOAST) update finds no row to complete it."""


class TooManyParked(CdcError):
    """Raised when more keys are poison than a person can look at."""


class FenceTimeout(CdcError):
    """Raised when the fence marker was not applied within the time given."""


class ProtocolError(CdcError):
    """Raised when replication data cannot be decoded."""


class EnvelopeError(CdcError):
    """Raised when a JSON event is not a change in Debezium's shape."""


class Transient(CdcError):
    """Raised when the same step may well work in a moment: lost connection, lock, slot still held by a dead peer."""


class SpoolFull(Transient):
    """Raised when streamed transactions do not fit on disk; the next connection does without streaming."""


class SlotTaken(Transient):
    """Raised while another program reads the stream's slot. What it confirms is lost to us: then SlotAhead follows."""


class AtWork(Transient):
    """Raised when another session holds the stream's origin: its running process, another fill, or a dead peer's."""
