"""The values that travel from capture to apply: relations, changes, boundaries, positions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

Operation = Literal["c", "u", "d", "r", "t", "m"]
Direction = Literal["forward", "reverse"]
Row = dict[str, Any]

PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

FENCE = "banyan.fence"
# Both move an idle stream's watermark: a heartbeat's position is made durable at once, a pulse's now and then.
HEARTBEAT = "banyan.heartbeat"
PULSE = "banyan.pulse"


class Column(msgspec.Struct, frozen=True, gc=False):
    """A column of a captured table; `key` tells that it is part of the replica identity."""

    name: str
    type_oid: int
    modifier: int = -1
    key: bool = False


class Relation(msgspec.Struct, frozen=True):
    """A captured table as the server described it last."""

    id: int
    schema: str
    table: str
    columns: tuple[Column, ...]
    identity: str = "d"

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """The source transaction of a change. `commit_lsn` is where its commit record starts."""

    xid: int
    commit_lsn: int
    commit_at: datetime
    origin: str | None = None
    origin_lsn: int | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """A logical message (`pg_logical_emit_message`)."""

    prefix: str
    content: bytes
    transactional: bool = True


class Change(msgspec.Struct, frozen=True):
    """One captured change.

    `after` lacks the columns whose TOASTed value did not change and is not known. `before` has the identity's columns
    only, unless the replica identity is FULL. A truncate and a message have neither.
    """

    op: Operation
    tx: Transaction
    lsn: int
    relation: Relation | None = None
    before: Row | None = None
    after: Row | None = None
    message: Message | None = None
    snapshot: bool = False


class Boundary(msgspec.Struct, frozen=True, gc=False):
    """Everything committed at the source before `lsn` has been handed over; `at` is the source's clock.

    `commit` is false for heartbeats and keepalives, which move the watermark without a change; of a pulse nobody waits
    for more than that.
    """

    lsn: int
    at: datetime
    commit: bool = True
    pulse: bool = False


Event = Change | Boundary


def lsn_text(lsn: int) -> str:
    """`16/B374D848`, as PostgreSQL prints a position."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def pg_time(micros: int) -> datetime:
    """A server timestamp (microseconds since 2000-01-01 UTC)."""
    return PG_EPOCH + timedelta(microseconds=micros)
