"""The first fill: a slot with an exported snapshot, every mapped table copied inside it, streaming from the slot on.

A fill that was cut off starts over: the slot is dropped and made again, upserts change nothing the second time, and
rows that the new snapshot does not have are deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import sql

from cdc.apply import parked, statements
from cdc.apply.owned import require_source_owns
from cdc.apply.route import Route, Routes
from cdc.apply.session import is_poison, stream_error, translated_errors
from cdc.apply.state import position_parameters
from cdc.apply.writer import Writer
from cdc.capture import slot as slots
from cdc.capture.replication import connect as connect_replication
from cdc.capture.types import SESSION_OPTIONS
from cdc.change import Change, Transaction, lsn_text
from cdc.config import Stream
from cdc.errors import TargetOwns, Transient, first_line
from cdc.snapshot.table import describe, read

log = structlog.get_logger("cdc.snapshot")


@dataclass(frozen=True, slots=True)
class Filled:
    lsn: int
    rows: int
    seconds: float

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


class Interrupted(Exception):
    """Raised when the process is asked to stop while it fills; the next start begins again."""


def fill(
    source_dsn: str,
    target: psycopg.Connection[Any],
    stream: Stream,
    routes: Routes,
    stopping: Callable[[], bool] = lambda: False,
) -> Filled:
    """`target` is an applier session: filled rows carry its origin.

    Every transaction of a fill holds the waves at the source side until its end, so that a switch cannot cross it.

    Raises: Transient, Interrupted, TableRefused, TargetOwns (before anything was dropped or written, unless a wave
    changed hands between two of the fill's transactions: then before the next write).
    """
    began = time.monotonic()
    rows = 0
    guarded = any(route.changes_hands for route in routes.by_source.values())

    def begin() -> None:
        target.execute("BEGIN")
        if guarded:
            _require_source_owns(target, stream)

    with (
        connect_replication(source_dsn, f"banyan-cdc {stream.name}") as replication,
        _source(source_dsn, stream.name) as source,
        translated_errors("a database of the snapshot"),
    ):
        begin()
        slots.drop(source, stream.slot)
        parked.clear_stream(target, stream.name)
        target.execute(
            "UPDATE banyan.stream SET state = 'snapshot', source_lsn = NULL, filled_lsn = NULL, snapshot_rows = 0,"
            " rows = 0 WHERE stream = %s",
            [stream.name],
        )
        target.execute("COMMIT")
        exported = slots.create_exported(replication, stream.slot, stream.failover)
        log.info("snapshot begins", stream=stream.name, lsn=lsn_text(exported.lsn))
        source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        source.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported.snapshot)))
        row = source.execute("SELECT statement_timestamp()").fetchone()
        assert row is not None
        tx = Transaction(0, exported.lsn, row[0])
        writer = Writer(target, stream.name, routes)
        for name in routes.by_source:
            rows += _fill_table(source, target, writer, routes.of_table(name), tx, begin, stopping)
        source.execute("COMMIT")
        begin()
        for key in sorted(writer.parked):
            writer.replay(key)
        target.execute(
            "UPDATE banyan.stream SET state = 'streaming', source_lsn = %(lsn)s, source_commit_at = %(at)s,"
            " filled_lsn = %(lsn)s, applied_at = clock_timestamp() WHERE stream = %(stream)s",
            position_parameters(stream.name, exported.lsn, tx.commit_at, 0),
        )
        target.execute("COMMIT")
    filled = Filled(exported.lsn, rows, time.monotonic() - began)
    log.info(
        "snapshot done",
        stream=stream.name,
        rows=rows,
        seconds=round(filled.seconds, 2),
        rows_per_s=round(filled.rows_per_s),
    )
    return filled


def _require_source_owns(target: psycopg.Connection[Any], stream: Stream) -> None:
    try:
        require_source_owns(target, stream.domain, stream.direction)
    except TargetOwns as e:
        raise TargetOwns(
            f"stream {stream.name} may not fill its target, where {e}: the fill would overwrite writes that only the"
            f" target has; roll back first (banyan rollback {stream.domain} --force-gate {stream.direction}-stream)"
        ) from e


def _source(dsn: str, stream: str) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(
            dsn,
            autocommit=True,
            options=SESSION_OPTIONS,
            application_name=f"banyan-cdc {stream} snapshot",
            connect_timeout=5,
        )
    except psycopg.OperationalError as e:
        raise Transient(f"cannot connect to the source: {first_line(e)}") from e


def _fill_table(
    source: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    writer: Writer,
    routes: Sequence[Route],
    tx: Transaction,
    begin: Callable[[], None],
    stopping: Callable[[], bool],
) -> int:
    """All targets of one source table."""
    route = routes[0]
    relation = describe(source, route.source, route.source_key)
    for each in routes:
        _delete_strangers(source, target, each, tx, begin)
    rows = 0
    for changes in read(source, relation, sorted(frozenset().union(*(each.source_columns for each in routes))), tx):
        if stopping():
            raise Interrupted
        _write(target, writer, changes, begin)
        rows += len(changes)
    log.info("table filled", stream=writer.stream, table=route.source, rows=rows)
    return rows


def _write(target: psycopg.Connection[Any], writer: Writer, changes: list[Change], begin: Callable[[], None]) -> None:
    """One batch, one transaction; a row that the target refuses is parked."""
    runs = writer.prepare(changes)
    if runs is not None:
        try:
            with _batch(target, writer, len(changes), begin):
                writer.write_runs(runs)
        except psycopg.Error as e:
            if not is_poison(e):
                raise stream_error(e) from e
        else:
            return
    with _batch(target, writer, len(changes), begin):
        writer.write(changes)


@contextmanager
def _batch(target: psycopg.Connection[Any], writer: Writer, rows: int, begin: Callable[[], None]) -> Iterator[None]:
    try:
        begin()
        writer.begin()
        yield
        target.execute(
            "UPDATE banyan.stream SET snapshot_rows = snapshot_rows + %s WHERE stream = %s", [rows, writer.stream]
        )
        target.execute("COMMIT")
    except psycopg.Error:
        if not target.closed:
            target.execute("ROLLBACK")
        raise


def _delete_strangers(
    source: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    route: Route,
    tx: Transaction,
    begin: Callable[[], None],
) -> None:
    """Rows of an earlier fill that the snapshot does not have. Before the fill: they may hold unique values."""
    table = statements.table_name(route.target)
    row = target.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    if row is None or not row[0]:
        return
    relation = describe(source, route.source, route.source_key)
    names = sql.SQL(", ").join(map(sql.Identifier, route.key))
    same = sql.SQL(" AND ").join(sql.SQL("s.{0} = t.{0}").format(sql.Identifier(c)) for c in route.key)
    begin()
    target.execute(
        sql.SQL("CREATE TEMP TABLE banyan_seen ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(names, table)
    )
    with target.cursor().copy(sql.SQL("COPY banyan_seen ({}) FROM STDIN").format(names)) as copy:
        for changes in read(source, relation, route.source_key, tx):
            for change in changes:
                assert change.after is not None
                copy.write_row(route.target_key(route.translate(change.after)))
    target.execute("ANALYZE banyan_seen")
    gone = target.execute(
        sql.SQL("{} WHERE NOT EXISTS (SELECT FROM banyan_seen s WHERE {})").format(statements.clear(route), same)
    ).rowcount
    target.execute("COMMIT")
    if gone:
        log.info("rows removed that the snapshot does not have", table=route.target, rows=gone)
