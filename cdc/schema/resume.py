"""Lets a halted stream go on, once a person has made both sides ready: checks, tries, records who and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.operations import operation
from cdc.apply.route import DomainMapping, Route, Routes, routes
from cdc.apply.runs import gather
from cdc.apply.session import become_applier, connect, is_poison, translated_errors
from cdc.apply.state import read_state
from cdc.apply.statements import table_name
from cdc.apply.writer import Writer
from cdc.capture.session import open_source
from cdc.capture.types import loader
from cdc.change import Change, Column, Relation, Transaction, lsn_number
from cdc.config import Stream
from cdc.errors import CdcError, NotPrepared, NotReady, first_line
from cdc.prepare import create_origin
from cdc.schema import examine, store
from cdc.schema.shape import Shape

# Rows of each table that are carried over, and thrown away, before a stream goes on.
TRIED = 100


@dataclass(frozen=True, slots=True)
class Resumed:
    """`what`: why the stream stood; None when it did not."""

    stream: str
    what: str | None
    through: int
    tried: int

    def __str__(self) -> str:
        if self.what is None:
            return f"{self.stream} is not halted: nothing to resume"
        return (
            f"{self.stream} goes on, {self.tried} rows were tried (it was: {self.what});"
            " compare both sides when it has caught up"
        )


def resume(
    stream: Stream, mapping: DomainMapping, source_dsn: str, target_dsn: str, actor: str, reason: str
) -> Resumed:
    """The process that runs the stream notices by itself, and reads the mapping anew.

    Raises: NotReady (nothing was changed), NotPrepared, Transient.
    """
    to = routes(mapping, stream.direction)
    with (
        open_source(source_dsn, stream.name, "resume") as source,
        connect(target_dsn, f"banyan-cdc {stream.name} resume") as target,
        translated_errors(),
    ):
        if read_state(target, stream.name) is None:
            raise NotPrepared(f"stream {stream.name} is not prepared in the target: run prepare")
        found = store.open_halt(target, stream.name)
        if found is None:
            return Resumed(stream.name, None, 0, 0)
        # The position first: what commits after it is judged when the stream comes to it.
        row = source.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        through = lsn_number(row[0])
        shapes, targets = examine.source_shapes(source, to, stream.publication), examine.target_shapes(target, to)
        if problems := examine.problems(to, shapes, targets):
            raise NotReady(f"stream {stream.name} stays halted: {'; '.join(problems)}")
        tried = _try(source, target, stream, to, shapes)
        with target.transaction():
            read_state(target, stream.name, lock=True)
            store.settle(target, stream.name)
            store.accept(target, stream.name, "source", shapes)
            store.accept(target, stream.name, "target", examine.target_shapes(target, to))
            store.close_halt(target, stream.name, actor, reason, through)
    return Resumed(stream.name, found.what, through, tried)


def _try(
    source: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    stream: Stream,
    to: Routes,
    shapes: dict[str, Shape],
) -> int:
    """Some rows of each table through mapping and target, rolled back: types and converters are not in any catalog."""
    origin = f"{stream.origin[:56]}_resume"
    create_origin(target, origin)
    become_applier(target, origin)
    tried = 0
    try:
        writer = Writer(target, stream.name, to)
        for route in to.every():
            if not route.makes:  # a part needs its wide row, which may be on its way
                continue
            rows = _rows(source, route, shapes[route.source])
            tried += len(rows)
            _try_table(target, writer, route, rows)
    finally:
        if not target.closed:
            target.execute("SELECT pg_replication_origin_session_reset()")
            target.execute("RESET session_replication_role")
            target.execute("SELECT pg_replication_origin_drop(%s)", [origin])
    return tried


def _try_table(target: psycopg.Connection[Any], writer: Writer, route: Route, rows: Sequence[Change]) -> None:
    target.execute("BEGIN")
    try:
        target.execute("SET LOCAL lock_timeout = '5s'")
        writer.begin()
        writer.write_runs(gather([operation(change, route) for change in rows]))
        target.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except Exception as e:
        if (
            isinstance(e, psycopg.Error)
            and not is_poison(e)
            and (e.sqlstate or "").startswith(("40", "55", "57", "08"))
        ):
            raise
        if not isinstance(e, (psycopg.Error, CdcError)) and not is_poison(e):
            raise
        raise NotReady(f"{route.source} → {route.target}: a row of now is refused: {first_line(e)}") from e
    finally:
        if not target.closed:
            target.execute("ROLLBACK")


def _rows(source: psycopg.Connection[Any], route: Route, shape: Shape) -> list[Change]:
    """As capture would bring them: PostgreSQL's text, through the same loaders."""
    names = sorted(route.source_columns)
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    query = sql.SQL("SELECT {} FROM {} LIMIT %s").format(columns, table_name(route.source))
    cursor = source.execute(query, [TRIED])
    result = cursor.pgresult
    assert result is not None
    loaders = [loader(result.ftype(n)) for n in range(len(names))]
    schema, table = route.source.split(".", 1)
    relation = Relation(shape.id, schema, table, tuple(Column(c.name, c.oid, c.modifier) for c in shape.columns))
    tx = Transaction(0, 0, datetime.now(UTC))
    found: list[Change] = []
    for at in range(result.ntuples):
        values = (result.get_value(at, n) for n in range(len(names)))
        row = {name: None if v is None else load(v) for name, load, v in zip(names, loaders, values, strict=True)}
        found.append(Change("r", tx, 0, relation, None, row, None, True))
    return found
