"""Applies a stream of events: one target transaction per batch of source transactions, the position inside it.

Exactly once in effect: changes and position commit together, and a restart resumes at the stored position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import structlog

from cdc.apply import parked
from cdc.apply.route import Routes
from cdc.apply.runs import Run
from cdc.apply.session import is_poison, stream_errors
from cdc.apply.state import ADVANCE, position_parameters
from cdc.apply.writer import BULK_ROWS, Writer
from cdc.change import FENCE, Boundary, Change, Event, lsn_text
from cdc.errors import NotPrepared

# Changes held before they are written, and before the target transaction is closed at the next source commit.
BATCH_ROWS = 10_000
# The same for an unfinished source transaction of few but large rows.
BATCH_BYTES = 32 * 1024 * 1024

log = structlog.get_logger("cdc.apply")


@dataclass(frozen=True, slots=True)
class Applied:
    """The newest position that the target has made durable. Times: source's clock, target's clock."""

    lsn: int
    commit_at: datetime
    applied_at: datetime
    rows: int
    commit: bool

    @property
    def lag_ms(self) -> float:
        """From the source's commit to the target's, by the two servers' clocks."""
        return max(0.0, (self.applied_at - self.commit_at).total_seconds() * 1000)


class Applier:
    """Bound to one applier session. Feed events, then settle; not thread-safe."""

    def __init__(self, connection: psycopg.Connection[Any], stream: str, routes: Routes) -> None:
        self._connection, self._stream = connection, stream
        self.writer = Writer(connection, stream, routes)
        self.writer.parked = parked.load_keys(connection, stream)
        self._changes: list[Change] = []
        self._complete = 0  # so many of _changes belong to transactions that have ended
        self._boundary: Boundary | None = None
        self._open = False
        self._rows = 0
        self._bytes = 0

    def feed(self, events: Sequence[Event], size: int = 0) -> list[Applied]:
        """Take events of `size` bytes; writes as soon as a batch is full. Returns what was committed, oldest first."""
        self._bytes += size
        done: list[Applied] = []
        for event in events:
            if isinstance(event, Boundary):
                self._boundary = event
                self._complete = len(self._changes)
                if self._complete >= BATCH_ROWS or (self._open and event.commit):
                    done.append(self._commit())
            else:
                self._changes.append(event)
                if len(self._changes) - self._complete >= BATCH_ROWS:
                    self._write_early()
        if self._bytes >= BATCH_BYTES and len(self._changes) > self._complete:
            self._write_early()
        return done

    def settle(self) -> Applied | None:
        """Commit all source transactions that have come whole; a part of one stays in hand."""
        return self._commit() if self._boundary is not None and not self._open else None

    def _write_early(self) -> None:
        """A source transaction too large to hold: write a part, commit when its end comes."""
        with stream_errors():
            if not self._open:
                self._begin()
            self._write_carefully(self._changes)
        self._changes.clear()
        self._complete = 0
        self._bytes = 0
        self._boundary = None

    def _commit(self) -> Applied:
        assert self._boundary is not None
        changes = self._changes[: self._complete]
        with stream_errors():
            applied = self._commit_fast(changes) if not self._open else None
            if applied is None:
                if not self._open:
                    self._begin()
                self._write_carefully(changes)
                cursor = self._advance(len(changes))
                self._connection.execute("COMMIT")
                applied = self._applied(cursor, len(changes))
        self._open = False
        self._rows = 0
        self._bytes = 0
        del self._changes[: self._complete]
        self._complete, self._boundary = 0, None
        return applied

    def _commit_fast(self, changes: list[Change]) -> Applied | None:
        """Everything in one go; None when the target (or a parked key) asks for care, with nothing written."""
        if self.writer.parked and changes:
            return None
        runs = self.writer.prepare(changes)
        if runs is None:
            return None
        try:
            if all(_pipelines(run) for run in runs):
                with self._connection.pipeline():
                    self._begin()
                    for run in runs:
                        self.writer.send(run)
                    self._fences(changes)
                    cursor = self._advance(len(changes))
                    self._connection.execute("COMMIT")
            else:
                self._begin()
                self.writer.write_runs(runs)
                self._fences(changes)
                cursor = self._advance(len(changes))
                self._connection.execute("COMMIT")
        except Exception as e:
            if not is_poison(e):
                raise
            self._connection.execute("ROLLBACK")
            self._open = False
            return None
        return self._applied(cursor, len(changes))

    def _begin(self) -> None:
        self._connection.execute("BEGIN")
        self._open = True
        self.writer.begin()

    def _write_carefully(self, changes: list[Change]) -> None:
        self.writer.write(changes)
        self._fences(changes)
        self._rows += len(changes)

    def _fences(self, changes: list[Change]) -> None:
        for change in changes:
            if change.message is not None and change.message.prefix == FENCE:
                self.writer.fence(change, lsn_text(self._boundary.lsn if self._boundary else change.lsn))

    def _advance(self, rows: int) -> psycopg.Cursor[Any]:
        assert self._boundary is not None
        rows = self._rows or rows
        return self._connection.execute(
            ADVANCE, position_parameters(self._stream, self._boundary.lsn, self._boundary.at, rows)
        )

    def _applied(self, cursor: psycopg.Cursor[Any], rows: int) -> Applied:
        assert self._boundary is not None
        row = cursor.fetchone()
        if row is None:
            raise NotPrepared(f"the target has no state of stream {self._stream} any more: run prepare")
        return Applied(self._boundary.lsn, self._boundary.at, row[1], self._rows or rows, self._boundary.commit)


def _pipelines(run: Run) -> bool:
    """A pipeline cannot COPY, and cannot see how many rows a partial update met."""
    return len(run) < BULK_ROWS and run.kind not in ("patch", "move")
