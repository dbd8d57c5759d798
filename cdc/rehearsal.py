"""Tries a stream's way before anybody needs it: real rows are read at its source, translated, and written at its target
by the applier's own statements, role and origin, in a transaction that is rolled back.

Of each table the row with the highest key is taken away and written again, and once more under a key as the source
gives to new rows. What the target refuses of it, a stream would park after the switch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.operations import mapped, operation
from cdc.apply.route import DomainMapping, Route, Routes, routes
from cdc.apply.runs import gather
from cdc.apply.session import become_applier, connect, is_poison, stream_error
from cdc.apply.writer import Writer
from cdc.change import Change, Relation, Row, Transaction
from cdc.config import Stream
from cdc.errors import first_line
from cdc.mapping import reader, roundtrip
from cdc.prepare import create_origin

# The rows are clients' rows. We wait for theirs no longer than LOCK_MS, they for ours no longer than a statement may
# take, or than we may stand still between two: a machine that goes to sleep there lets go of them.
LOCK_MS = 250
_BOUNDS = (
    f"SET LOCAL lock_timeout = {LOCK_MS}; SET LOCAL statement_timeout = '2s';"
    " SET LOCAL idle_in_transaction_session_timeout = '1s'"
)
_NOWHERE = Transaction(0, 0, datetime(2000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """`rows`: written, and rolled back. `refused`: what could not be, in words."""

    rows: int = 0
    refused: tuple[str, ...] = ()


def rehearse(
    stream: Stream, mapping: DomainMapping, source_dsn: str, target_dsn: str, *, new_from: int | None = None
) -> Rehearsed:
    """`new_from`: integer keys that the source gives to new rows begin there.

    Raises: Transient (a database is away, a row is held by somebody), TargetRefused, AtWork.
    """
    to = routes(mapping, stream.direction)
    name = f"banyan-cdc {stream.name} rehearsal"
    origin = f"{stream.origin[:53]}_rehearsal"
    try:
        with roundtrip.connect(source_dsn) as source, connect(target_dsn, name) as target:
            create_origin(target, origin)
            become_applier(target, origin)
            try:
                return _tables(source, target, stream.name, to, new_from)
            finally:
                if not target.closed:
                    target.execute("SELECT pg_replication_origin_session_reset()")
                    target.execute("SELECT pg_replication_origin_drop(%s)", [origin])
    except psycopg.Error as error:
        raise stream_error(error, "a database of the way back") from error


def _tables(
    source: psycopg.Connection[Any], target: psycopg.Connection[Any], stream: str, to: Routes, new_from: int | None
) -> Rehearsed:
    writer, rows, refused = Writer(target, stream, to), 0, []
    for table in to.by_source:
        taken = [route for route in to.of_table(table) if route.changes_hands]
        row = _newest(source, table, taken) if taken else None
        if row is None:
            continue
        target.execute("BEGIN")
        try:
            target.execute(_BOUNDS)
            for change in _changes(table, taken, row, new_from):
                parts = mapped(change, to)
                writer.write_runs(gather([operation(part, route) for part, route in parts if route in taken]))
                target.execute("SET CONSTRAINTS ALL IMMEDIATE")
                target.execute("SET CONSTRAINTS ALL DEFERRED")
                rows += change.op == "c"
        except Exception as error:
            if not is_poison(error):
                raise
            refused.append(f"{taken[0].target} refuses a row of {table}: {first_line(error)}")
        finally:
            if not target.closed:
                target.execute("ROLLBACK")
    return Rehearsed(rows, tuple(refused))


def _newest(source: psycopg.Connection[Any], table: str, taken: Sequence[Route]) -> Row | None:
    """By key; None of an empty table."""
    needed = (name for route in taken for name in (*route.source_key, *sorted(route.source_columns)))
    shape = reader.shape(source, table, tuple(dict.fromkeys(needed)))
    # By the table's own column, whose index serves: the expression of some types is a text of the same name.
    key = sql.SQL(", ").join(sql.SQL("{} DESC").format(sql.Identifier("t", name)) for name in taken[0].source_key)
    query = sql.SQL("SELECT {} FROM {} AS t ORDER BY {} LIMIT 1").format(
        sql.SQL(", ").join(shape.expressions), reader.name(table), key
    )
    found = source.execute(query).fetchone()
    return None if found is None else dict(zip(shape.columns, found, strict=True))


def _changes(table: str, taken: Sequence[Route], row: Row, new_from: int | None) -> Iterator[Change]:
    key = taken[0].source_key
    there = {name: row[name] for name in key}
    yield _change(table, before=there)
    yield _change(table, after=row)
    new = _as_new(taken, there, new_from)
    if new is not None:
        yield _change(table, before=there)
        yield _change(table, after={**row, **new})


def _as_new(taken: Sequence[Route], key: Mapping[str, Any], new_from: int | None) -> Row | None:
    """A part is one with its wide row, whose key it cannot leave."""
    if new_from is None or len(key) != 1 or any(not route.makes or route.fills for route in taken):
        return None
    [(name, value)] = key.items()
    return {name: value + new_from} if isinstance(value, int) and 0 <= value < new_from else None


def _change(table: str, *, before: Row | None = None, after: Row | None = None) -> Change:
    schema, _, name = table.partition(".")
    op = "c" if after is not None else "d"
    return Change(op, _NOWHERE, 0, Relation(0, schema, name, ()), before, after)  # type: ignore[arg-type]
