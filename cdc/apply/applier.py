"""Applies a stream of events: one target transaction per batch of source transactions, the position inside it.

Exactly once in effect: changes and position commit together, and a restart resumes at the stored position.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

from cdc.apply import parked
from cdc.apply.batch import WARY, Batches, Lane
from cdc.apply.columns import Unfit
from cdc.apply.fence import fence
from cdc.apply.net import NotNet
from cdc.apply.route import Routes
from cdc.apply.runs import Run
from cdc.apply.runwriter import pipelines
from cdc.apply.script import Script, Wire
from cdc.apply.session import is_poison, stream_errors
from cdc.apply.state import ADVANCE, position_parameters
from cdc.apply.writer import Writer
from cdc.capture.raw import Captured, Raw, as_event
from cdc.change import FENCE, Boundary, Change
from cdc.errors import NotPrepared

# Changes held before they are written, and before the target transaction is closed at the next source commit.
BATCH_ROWS = 10_000
# The same for an unfinished source transaction of few but large rows.
BATCH_BYTES = 32 * 1024 * 1024
# Seconds between two looks at the parked keys, while there are some.
LOOK_AT_PARKED = 0.5
# A position without changes is true at once, and made durable this often, seconds: a restart reads that much again.
DURABLE_EVERY = 1.0

log = structlog.get_logger("cdc.apply")


@dataclass(frozen=True, slots=True)
class Applied:
    """The newest position up to which the target has everything. Times: source's clock, target's clock (this process's
    where nothing was written). Not `durable`: nothing was to be applied since the last position that is.
    """

    lsn: int
    commit_at: datetime
    applied_at: datetime
    rows: int
    commit: bool
    transactions: int = 0  # of the source
    durable: bool = True

    @property
    def lag_ms(self) -> float:
        """From the source's commit to the target's, by the two servers' clocks."""
        return max(0.0, (self.applied_at - self.commit_at).total_seconds() * 1000)


@dataclass(slots=True)
class _Sent:
    """A batch that the target is working on."""

    changes: list[Raw | Change]
    boundary: Boundary | None  # None: a part of an unfinished source transaction
    rows: int  # of the target transaction so far
    whole: bool  # the target transaction has no other part
    straight: list[Lane]
    transactions: int = 0  # of the source, that end with it


class Applier:
    """Bound to one applier session. Feed events, then settle; not thread-safe.

    With `ahead` a batch is sent without waiting for its end: `feed` and `settle` return the batch before, and `finish`
    the last one. Otherwise what they return is in the target with them.
    """

    def __init__(self, connection: psycopg.Connection[Any], stream: str, routes: Routes, ahead: bool = False) -> None:
        self._connection, self._stream, self._ahead = connection, stream, ahead
        self.writer = Writer(connection, stream, routes)
        self.writer.parked = parked.load_keys(connection, stream)
        self.batches = Batches(connection, routes)
        self.wire = Wire(connection)
        self._sent: _Sent | None = None
        self._changes: list[Raw | Change] = []
        self._complete = 0  # so many of _changes belong to transactions that have ended
        self._boundary: Boundary | None = None
        self._pulse = True  # all boundaries since the last batch were pulses
        self._written_at = 0.0  # the last position
        self._open = False
        self._careful = False  # the target transaction has a part that was written with care
        self._look_again = 0.0
        self._rows = 0  # in the target transaction so far
        self._bytes = 0
        self._transactions = 0

    def tolerate(self, tables: frozenset[str]) -> None:
        """Source tables that are being read anew: a partial update that finds no row there does nothing."""
        self.writer.tolerates = self.batches.tolerates = tables

    @property
    def busy(self) -> bool:
        """Whether a batch is on its way, whose end `finish` waits for."""
        return self._sent is not None

    @property
    def waiting(self) -> bool:
        """Whether a position has come that `settle` has not told yet, because a batch was on its way."""
        return self._boundary is not None and not self._open

    def feed(self, events: Sequence[Captured], size: int = 0) -> list[Applied]:
        """Take events of `size` bytes; writes as soon as a batch is full. Returns what was committed, oldest first."""
        self._bytes += size
        done: list[Applied] = []
        changes = self._changes
        for event in events:
            if not isinstance(event, Boundary):
                changes.append(event)
                if len(changes) - self._complete >= BATCH_ROWS:
                    done += self._write_early()
                continue
            self._boundary = event
            self._pulse = self._pulse and event.pulse
            self._transactions += event.commit
            self._complete = len(changes)
            if self._complete >= BATCH_ROWS or (self._open and event.commit):
                done += self._commit()
        if self._bytes >= BATCH_BYTES and len(changes) > self._complete:
            done += self._write_early()
        return done

    def settle(self) -> Applied | None:
        """Commit all source transactions that have come whole; a part of one stays in hand."""
        if self._boundary is None or self._open:
            return None
        if self._pulse and not self._complete and time.monotonic() - self._written_at < DURABLE_EVERY:
            return self.finish() if self.busy else self._passed()
        done = self._commit()
        return done[-1] if done else None

    def finish(self) -> Applied | None:
        """Wait for the batch that is on its way."""
        sent, self._sent = self._sent, None
        if sent is None:
            return None
        with stream_errors():
            return self._end(sent)

    def _passed(self) -> Applied:
        """Nothing was to be written: the target has everything before the boundary."""
        boundary, self._boundary = self._boundary, None
        assert boundary is not None
        return Applied(boundary.lsn, boundary.at, datetime.now(UTC), 0, commit=False, durable=False)

    def _write_early(self) -> list[Applied]:
        """A source transaction too large to hold: write a part, commit when its end comes."""
        changes = self._changes[:]
        self._changes.clear()
        self._complete, self._bytes, self._boundary = 0, 0, None
        return self._write(changes, None)

    def _commit(self) -> list[Applied]:
        assert self._boundary is not None
        changes, boundary = self._changes[: self._complete], self._boundary
        del self._changes[: self._complete]
        self._complete, self._bytes, self._boundary, self._pulse = 0, 0, None, True
        self._written_at = time.monotonic()
        return self._write(changes, boundary)

    def _write(self, changes: list[Raw | Change], boundary: Boundary | None) -> list[Applied]:
        """In one piece if that can be, else with care. The batch before ends first: only one is ever on its way."""
        self._rows += len(changes)
        ended = self._transactions if boundary is not None else 0
        sent = _Sent(changes, boundary, self._rows, boundary is not None and not self._open, [], ended)
        begun, self._open = self._open, boundary is None
        if boundary is not None:
            self._rows = self._transactions = 0
        script, parked_then = self._script(sent, begun), len(self.writer.parked)
        before = self.finish()
        if len(self.writer.parked) > parked_then:  # perhaps a key of this batch: look again
            script = self._script(sent, begun)
        with stream_errors():
            self._look_at_parked()
            if script is None:
                last = self._with_care(sent, begun)
            else:
                self.wire.send(script)
                self._sent = sent
                last = None if self._ahead else self.finish()
        return [applied for applied in (before, last) if applied is not None]

    def _script(self, sent: _Sent, begun: bool) -> Script | None:
        """None when the changes need care."""
        script = Script()
        if not begun:
            self.batches.begin()
            self._careful = False
            script.add(b"BEGIN")
        if not sent.whole:
            script.add(b"SAVEPOINT part")
        try:
            sent.straight = self.batches.write(script, sent.changes, self.writer.parked)
        except (NotNet, Unfit):
            return None
        if not sent.whole:  # what is deferred fails here, where it can be mended, not at the end
            script.add(b"SET CONSTRAINTS ALL IMMEDIATE")
            script.add(b"SET CONSTRAINTS ALL DEFERRED")
            script.add(b"RELEASE part")
        for statement in self._fences(sent):
            script.add(statement)
        if sent.boundary is not None:
            script.add(self._advance(sent.boundary, sent.rows))
            script.add(b"COMMIT")
        return script

    def _end(self, sent: _Sent) -> Applied | None:
        try:
            results = self.wire.finish()
        except psycopg.Error as e:
            if not needs_care(e):
                raise
            return self._again(sent, e)
        if sent.boundary is None:
            return None
        last = results[-1] if results else None
        at = last.get_value(0, 1) if last is not None and last.ntuples else None
        return self._applied(sent, datetime.fromisoformat(at.decode()) if at else None)

    def _again(self, sent: _Sent, error: psycopg.Error) -> Applied | None:
        """A batch was refused, and nothing of it is written. Rows that were not new are merged; else it needs care."""
        self._connection.execute("ROLLBACK" if sent.whole else "ROLLBACK TO part")
        if sent.straight and isinstance(error, psycopg.errors.UniqueViolation):
            for lane in sent.straight:
                lane.wary = WARY
            script = self._script(sent, not sent.whole)
            if script is not None:
                self.wire.send(script)
                return self._end(sent)
        return self._with_care(sent, not sent.whole)

    def _with_care(self, sent: _Sent, begun: bool) -> Applied | None:
        """As runs of statements, and where the target refuses these, down to the changes that are to blame."""
        changes = [as_event(change) for change in sent.changes]
        events = [change for change in changes if isinstance(change, Change)]
        if sent.whole and not begun and (applied := self._in_runs(sent, events)) is not None:
            return applied
        if not begun:
            self._connection.execute("BEGIN")
            self._careful = False
        if not self._careful:
            self.writer.begin()
            self._careful = True
        self.writer.write(events)
        for statement in self._fences(sent):
            self._connection.execute(statement)
        if sent.boundary is None:
            return None
        cursor = self._connection.execute(self._advance(sent.boundary, sent.rows))
        self._connection.execute("COMMIT")
        row = cursor.fetchone()
        return self._applied(sent, row[1] if row is not None else None)

    def _in_runs(self, sent: _Sent, changes: list[Change]) -> Applied | None:
        """None when the target (or a parked key) asks for more care, with nothing written."""
        assert sent.boundary is not None
        if self.writer.parked and changes:
            return None
        runs = self.writer.prepare(changes)
        if runs is None:
            return None
        try:
            if all(pipelines(run) for run in runs):
                with self._connection.pipeline():
                    cursor = self._write_runs(sent, sent.boundary, runs)
            else:
                cursor = self._write_runs(sent, sent.boundary, runs)
        except Exception as e:
            if not is_poison(e):
                raise
            self._connection.execute("ROLLBACK")
            return None
        row = cursor.fetchone()
        return self._applied(sent, row[1] if row is not None else None)

    def _write_runs(self, sent: _Sent, boundary: Boundary, runs: list[Run]) -> psycopg.Cursor[Any]:
        self._connection.execute("BEGIN")
        self.writer.begin()
        self.writer.write_runs(runs)
        for statement in self._fences(sent):
            self._connection.execute(statement)
        cursor = self._connection.execute(self._advance(boundary, sent.rows))
        self._connection.execute("COMMIT")
        return cursor

    def _look_at_parked(self) -> None:
        """People free keys meanwhile. What is known here is never too little: only this applier parks."""
        if self.writer.parked and (now := time.monotonic()) >= self._look_again:
            self.writer.parked = parked.load_keys(self._connection, self._stream)
            self._look_again = now + LOOK_AT_PARKED

    def _fences(self, sent: _Sent) -> list[bytes]:
        return [
            statement
            for change in sent.changes
            if isinstance(change, Change) and change.message is not None and change.message.prefix == FENCE
            for statement in fence(
                self._connection, self._stream, change, sent.boundary.lsn if sent.boundary else change.lsn
            )
        ]

    def _advance(self, boundary: Boundary, rows: int) -> bytes:
        parameters = position_parameters(self._stream, boundary.lsn, boundary.at, rows)
        return psycopg.ClientCursor(self._connection).mogrify(ADVANCE, parameters).encode()

    def _applied(self, sent: _Sent, at: datetime | None) -> Applied:
        assert sent.boundary is not None
        if at is None:
            raise NotPrepared(f"the target has no state of stream {self._stream} any more: run prepare")
        return Applied(sent.boundary.lsn, sent.boundary.at, at, sent.rows, sent.boundary.commit, sent.transactions)


def needs_care(error: psycopg.Error) -> bool:
    """Whether the batch may pass in another way: row by row, or not by COPY (which row security and views refuse)."""
    return is_poison(error) or (error.sqlstate or "") in ("0A000", "42809")
