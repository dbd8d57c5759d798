"""Writes what came from Kafka into the target, by the applier's own writer: places first, then guards, then rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from cdc.apply import parked
from cdc.apply.applier import Applied
from cdc.apply.fence import fence
from cdc.apply.route import Routes
from cdc.apply.runwriter import pipelines
from cdc.apply.session import is_poison, stream_errors
from cdc.apply.writer import Writer
from cdc.change import FENCE, Change, lsn_text
from cdc.kafka import guard
from cdc.kafka.control import Control, message_change, truncate_change
from cdc.kafka.guard import Keyed
from cdc.kafka.marks import Mark, Place

# How often a parked key is tried again by itself.
TRIES = 2

ADVANCE = """
UPDATE banyan.stream
SET source_lsn = greatest(source_lsn, %(lsn)s::pg_lsn),
    source_commit_at = CASE WHEN source_lsn > %(lsn)s::pg_lsn THEN source_commit_at ELSE %(at)s END,
    applied_at = clock_timestamp(),
    rows = (SELECT coalesce(sum(p.rows), 0) FROM banyan.kafka_partition p WHERE p.stream = %(stream)s)
WHERE stream = %(stream)s
RETURNING applied_at
"""


class Sink:
    """Bound to one applier session. Every method is a transaction of its own."""

    def __init__(self, connection: psycopg.Connection[Any], stream: str, routes: Routes, commits: bool = True) -> None:
        """`commits`: changes say where their own transaction was committed; Debezium's say where the one before was."""
        self._connection, self._stream, self._commits = connection, stream, commits
        self.writer = Writer(connection, stream, routes)
        self.writer.parked = parked.load_keys(connection, stream)
        self._begin = guard.begin(stream)
        self._tries: dict[parked.Key, int] = {}

    def apply(
        self,
        changes: Sequence[Keyed],
        was: Mapping[Place, Mark],
        now: Mapping[Place, Mark],
        rows: Mapping[Place, int],
    ) -> int:
        """Returns how many changes their rows had not seen. Raises: Overtaken, Moved, and what concerns the stream."""
        with stream_errors():
            if (done := self._fast(changes, was, now, rows)) is not None:
                return done[0]
            admitted = self._open(changes, was, now, rows)
            self.writer.write(admitted)
            self._connection.execute("COMMIT")
        return len(admitted)

    def apply_and_advance(
        self,
        changes: Sequence[Keyed],
        was: Mapping[Place, Mark],
        now: Mapping[Place, Mark],
        rows: Mapping[Place, int],
        last: Control,
    ) -> tuple[int, Applied] | None:
        """`apply`, and with it `last`, a control record with nothing but a position, whose place is in `was` and `now`
        too. None where that needs care: nothing is written then.
        """
        with stream_errors():
            done = self._fast(changes, was, now, rows, last)
        if done is None or done[1] is None:
            return None
        return done[0], Applied(last.lsn, last.at, done[1], 0, last.commit)

    def advance(self, controls: Sequence[Control], was: Mark, now: Mark, place: Place) -> Applied:
        """All of `controls` have been passed: fences, truncates, the watermark, in that order.

        Raises: Overtaken, Moved.
        """
        connection, last = self._connection, controls[-1]
        with stream_errors():
            floor = guard.open_at(connection, self._stream, {place: was}, {place: now}, {})
            self.writer.begin()
            for one in controls:
                for truncated in one.truncates:
                    change = Keyed(truncated.table, "", truncate_change(truncated, one.at))
                    self.writer.write(guard.admit(connection, self._stream, floor, [change]))
                for sent in one.messages:
                    if sent.prefix == FENCE:
                        for statement in fence(connection, self._stream, message_change(sent, one.at), one.lsn):
                            connection.execute(statement)
            row = connection.execute(ADVANCE, self._position(last)).fetchone()
            connection.execute("COMMIT")
        assert row is not None
        return Applied(last.lsn, last.at, row[0], 0, last.commit)

    def forget(self) -> None:
        with stream_errors():
            guard.forget(self._connection, self._stream)

    def retry(self) -> None:
        """Keys that were parked, once all partitions have come as far: over partitions a row may come before the one
        that sets its unique value free. After a few tries they are for people.
        """
        with stream_errors():
            self.writer.parked = parked.load_keys(self._connection, self._stream)
            for key in sorted(key for key in self.writer.parked if self._tries.get(key, 0) < TRIES):
                self._tries[key] = self._tries.get(key, 0) + 1
                self._connection.execute(self._begin)
                self.writer.begin()
                if key in self.writer.parked:
                    self.writer.replay(key)
                self._connection.execute("COMMIT")
            self._tries = {key: tries for key, tries in self._tries.items() if key in self.writer.parked}

    def look_again(self) -> None:
        """What other members have parked is not known here."""
        with stream_errors():
            self.writer.parked = parked.load_keys(self._connection, self._stream)

    def rollback(self) -> None:
        if not self._connection.closed:
            self._connection.execute("ROLLBACK")

    def _fast(
        self,
        changes: Sequence[Keyed],
        was: Mapping[Place, Mark],
        now: Mapping[Place, Mark],
        rows: Mapping[Place, int],
        last: Control | None = None,
    ) -> tuple[int, datetime | None] | None:
        """Everything in one go: how many rows, and when `last` was written. None when the target (or a parked key) asks
        for care, with nothing written.
        """
        if self.writer.parked and changes:
            return None
        connection = self._connection
        try:
            admitted = self._open(changes, was, now, rows)
            runs = self.writer.prepare(admitted, net=True)
            if runs is None:
                connection.execute("ROLLBACK")
                return None
            advanced = None
            piped = all(pipelines(run) for run in runs)
            if not piped:
                self.writer.write_runs(runs)
            with connection.pipeline():
                for run in runs if piped else ():
                    self.writer.send(run)
                if last is not None:
                    advanced = connection.execute(ADVANCE, self._position(last))
                connection.execute("COMMIT")
        except Exception as e:
            if not is_poison(e):
                raise
            connection.execute("ROLLBACK")
            return None
        row = advanced.fetchone() if advanced is not None else None
        return len(admitted), row[0] if row is not None else None

    def _position(self, last: Control) -> dict[str, Any]:
        return {"lsn": lsn_text(last.lsn), "at": last.at, "stream": self._stream}

    def _open(
        self,
        changes: Sequence[Keyed],
        was: Mapping[Place, Mark],
        now: Mapping[Place, Mark],
        rows: Mapping[Place, int],
    ) -> list[Change]:
        floor = guard.open_at(self._connection, self._stream, was, now, rows)
        self.writer.begin()
        return guard.admit(self._connection, self._stream, floor if self._commits else 0, changes)
