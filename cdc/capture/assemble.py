"""Decoded pgoutput messages to events: gives each change its transaction. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from cdc.capture.pgoutput import Begin, Commit, Decoded, Delete, Emitted, Insert, Origin, Truncate, Update
from cdc.capture.raw import Captured
from cdc.change import HEARTBEAT, PULSE, Boundary, Change, Event, Message, Relation, Transaction
from cdc.errors import ProtocolError
from cdc.schema.sentry import DDL, Sentry


class Assembler:
    """One per connection; transactions come whole and in commit order (protocol version 1)."""

    def __init__(self, sentry: Sentry | None = None) -> None:
        self.tx: Transaction | None = None  # the one that has begun and not ended
        self._sentry = sentry

    @property
    def inside(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self.tx is not None

    def feed(self, lsn: int, decoded: Decoded, out: list[Captured]) -> None:
        """Appends what the message amounts to. Rows come first: they are nearly all of a busy stream.

        Raises: SchemaChanged, from the sentry, before a row of the new shape.
        """
        kind = type(decoded)
        if kind is Insert:
            assert isinstance(decoded, Insert)
            out.append(Change("c", self._current(), lsn, decoded.relation, None, decoded.new))
        elif kind is Update:
            assert isinstance(decoded, Update)
            out.append(Change("u", self._current(), lsn, decoded.relation, decoded.old, decoded.new))
        else:
            self._feed_rare(lsn, decoded, out)

    def _feed_rare(self, lsn: int, decoded: Decoded, out: list[Captured]) -> None:
        match decoded:
            case Delete(relation, old):
                out.append(Change("d", self._current(), lsn, relation, old, None))
            case Begin(commit_lsn, commit_at, xid):
                self.tx = Transaction(xid, commit_lsn, commit_at)
            case Commit(_, end_lsn, commit_at):
                self.tx = None
                out.append(Boundary(end_lsn, commit_at))
            case Emitted(at, message):
                out.extend(self._message(at, message))
            case Relation():
                if self._sentry is not None and self.tx is not None:
                    self._sentry.described(decoded, self.tx.commit_lsn)
            case Truncate(relations):
                out.extend(Change("t", self._current(), lsn, relation) for relation in relations)
            case Origin(origin_lsn, name):
                self.tx = msgspec.structs.replace(self._current(), origin=name, origin_lsn=origin_lsn)

    def _message(self, lsn: int, message: Message) -> list[Event]:
        if message.prefix in (HEARTBEAT, PULSE):
            at = heartbeat_time(message.content)
            return [] if self.inside or at is None else [Boundary(lsn, at, False, message.prefix == PULSE)]
        if message.prefix == DDL and self._sentry is not None:
            self._sentry.told(message, self._current().commit_lsn)
            return []
        if message.transactional:
            return [Change("m", self._current(), lsn, message=message)]
        return []

    def _current(self) -> Transaction:
        if self.tx is None:
            raise ProtocolError("a change came outside a transaction")
        return self.tx


def heartbeat_time(content: bytes) -> datetime | None:
    """The source's clock in a heartbeat: seconds since 1970, as text. None for what is not ours."""
    try:
        return datetime.fromtimestamp(float(content), UTC)
    except (ValueError, OverflowError, OSError):
        return None
