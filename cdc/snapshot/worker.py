"""One of the parallel sessions of a first fill: copies ranges out of the exported snapshot, each as one transaction.

A range of a table whose mapping has SQL goes from COPY to COPY, and no row is seen by Python. What the target, or
the mapping, refuses there is found by doing the range again with care: row by row through the applier's writer,
which parks the key.

An origin can be set up in one session only (of the parallel apply workers' way to share one, PostgreSQL 18 has no
SQL), so each worker has one of its own, `<origin>_fill_<n>`: any origin lets the guard pass and keeps the other
direction from capturing what is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply import statements
from cdc.apply.batch import Batches
from cdc.apply.route import Route, Routes
from cdc.apply.script import Wire
from cdc.apply.session import become_applier, connect, is_poison, stream_error, translated_errors
from cdc.apply.writer import Writer
from cdc.capture.raw import Described
from cdc.capture.types import SESSION_OPTIONS
from cdc.change import Transaction
from cdc.config import Stream
from cdc.errors import Transient, first_line
from cdc.snapshot.batch import Put
from cdc.snapshot.brake import Brake
from cdc.snapshot.chunks import Blocks, in_blocks, select
from cdc.snapshot.pump import pump
from cdc.snapshot.table import batches, names_of, read


@dataclass(frozen=True, slots=True)
class Job:
    """A range of a table. `fresh`: the target's table was empty, so that rows may go in without a merge; `projected`:
    the target's columns as SQL, None where only Python knows."""

    request: int
    route: Route
    table: Described
    blocks: Blocks
    fresh: bool
    projected: tuple[sql.Composable, ...] | None


def source_session(dsn: str, stream: str) -> psycopg.Connection[Any]:
    """Raises: Transient."""
    try:
        return psycopg.connect(
            dsn,
            autocommit=True,
            options=f"{SESSION_OPTIONS} -c client_encoding=UTF8",
            application_name=f"banyan-cdc {stream} snapshot",
            connect_timeout=5,
        )
    except psycopg.OperationalError as e:
        raise Transient(f"cannot connect to the source: {first_line(e)}") from e


def origin_of(stream: Stream, number: int) -> str:
    return f"{stream.origin[:55]}_fill_{number}"


def drop_origins(target: psycopg.Connection[Any], stream: Stream) -> None:
    """Those of workers that a killed process left; one that is still in use stays until the next time."""
    left = target.execute(
        "SELECT roname FROM pg_replication_origin WHERE starts_with(roname, %s)", [origin_of(stream, 0)[:-1]]
    ).fetchall()
    for (name,) in left:
        with contextlib.suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
            target.execute("SELECT pg_replication_origin_drop(%s)", [name])


class Worker:
    """For one thread at a time. `begin` starts a transaction at the target: it holds the waves at the source's side."""

    def __init__(
        self,
        stream: Stream,
        routes: Routes,
        number: int,
        dsns: tuple[str, str],
        snapshot: str,
        begin: Callable[[psycopg.Connection[Any]], None],
    ) -> None:
        """Raises: Transient, TargetRefused."""
        self._stream, self._snapshot, self._begin = stream, snapshot, begin
        self._source = source_session(dsns[0], stream.name)
        try:
            self._target = connect(dsns[1], f"banyan-cdc {stream.name} fill")
            self._target.execute("SET client_encoding = 'UTF8'")
            origin = origin_of(stream, number)
            with translated_errors(), contextlib.suppress(psycopg.errors.DuplicateObject):
                self._target.execute("SELECT pg_replication_origin_create(%s)", [origin])
            become_applier(self._target, origin)
            self._enter()
            self._put = Put(
                Writer(self._target, stream.name, routes), Batches(self._target, routes), Wire(self._target)
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._source.close()
        if hasattr(self, "_target"):
            with contextlib.suppress(psycopg.Error):
                self._target.execute("SELECT pg_replication_origin_session_reset()")  # free before the session ends
            self._target.close()

    def cancel(self) -> None:
        """From another thread: end what the worker waits for."""
        for connection in (self._source, self._target):
            if not connection.closed:
                connection.cancel_safe(timeout=2)

    def _enter(self) -> None:
        """Into the exported snapshot, again after an error ended the transaction that was in it."""
        if self._source.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self._source.execute("ROLLBACK")
        self._source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._source.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self._snapshot)))

    def copy(self, job: Job, tx: Transaction, brake: Brake) -> int:
        """Raises: Interrupted, Transient, TargetOwns, TooManyParked, TargetRefused."""
        with translated_errors("a database of the snapshot"):
            if job.projected is not None:
                try:
                    return self._piped(job, job.projected, brake)
                except psycopg.Error as e:
                    if self._target.closed or self._source.closed or not is_poison(e):
                        raise stream_error(e, "a database of the snapshot") from e
                    self._enter()
            return self._with_care(job, tx, brake)

    def _piped(self, job: Job, projected: tuple[sql.Composable, ...], brake: Brake) -> int:
        route = job.route
        out = sql.SQL("COPY ({}) TO STDOUT").format(
            select(route.source, sql.SQL(", ").join(projected), in_blocks(job.blocks))
        )
        with self._transaction():
            if job.fresh:
                names = sql.SQL(", ").join(map(sql.Identifier, route.columns))
                into = sql.SQL("COPY {} ({}) FROM STDIN").format(statements.table_name(route.target), names)
                rows = pump(self._source, self._target, out, into, brake.passed)
            else:
                bulk = statements.bulk("upsert", route, route.columns, "banyan_fill")
                self._target.execute("DROP TABLE IF EXISTS pg_temp.banyan_fill")
                self._target.execute(bulk.create)
                rows = pump(self._source, self._target, out, bulk.copy, brake.passed)
                self._target.execute(bulk.merge)
            self._done(job, rows, brake.rate())
        return rows

    def _with_care(self, job: Job, tx: Transaction, brake: Brake) -> int:
        """In batches, each its own transaction: done twice it changes nothing."""
        rows = 0
        query = select(job.route.source, names_of(job.table), in_blocks(job.blocks))
        for part in batches(read(self._source, query), job.table, tx):
            self._put.write(part, lambda: self._begin(self._target))
            rows += len(part)
            brake.passed(len(part))
        with self._transaction():
            self._done(job, rows, brake.rate())
        return rows

    def _done(self, job: Job, rows: int, rate: float) -> None:
        self._target.execute(
            "DELETE FROM banyan.snapshot_blocks WHERE snapshot = %s AND first_block = %s",
            [job.request, job.blocks.first],
        )
        query = "UPDATE banyan.snapshot SET rows = rows + %s, rate = %s WHERE id = %s"
        self._target.execute(query, [rows, rate, job.request])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._begin(self._target)
        try:
            yield
            self._target.execute("COMMIT")
        except BaseException:
            if not self._target.closed:
                self._target.execute("ROLLBACK")
            raise
