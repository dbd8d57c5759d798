"""Reads rows of one source table: COPY's text format as captured rows, their values as PostgreSQL wrote them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.route import Route, Routes
from cdc.apply.statements import table_name
from cdc.capture.raw import Described, Raw, Values, described
from cdc.change import Column, Relation, Transaction
from cdc.errors import TableRefused

BATCH_ROWS = 10_000

_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def describe(connection: psycopg.Connection[Any], table: str, key: Sequence[str], names: Collection[str]) -> Described:
    """These columns of the table, as pgoutput would describe them. Raises: TableRefused."""
    rows = connection.execute(
        "SELECT c.oid::bigint, a.attname, a.atttypid::bigint, a.atttypmod"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.oid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
        " ORDER BY a.attnum",
        [table_name(table).as_string(connection)],
    ).fetchall()
    if not rows:
        raise TableRefused(f"table {table} does not exist: correct the mapping")
    schema, name = table.split(".", 1)
    columns = [Column(column, oid, modifier, column in key) for _, column, oid, modifier in rows if column in names]
    return described(Relation(rows[0][0], schema, name, tuple(columns)))


def reading(routes: Routes, source: str) -> Route:
    """How a source table is read: its first route, with all columns that any of its routes needs."""
    found = routes.of_table(source)
    return dataclasses.replace(found[0], source_columns=frozenset().union(*(route.source_columns for route in found)))


def names_of(table: Described) -> sql.Composed:
    """Its columns, of the alias `t`."""
    return sql.SQL(", ").join(sql.Identifier("t", column.name) for column in table.relation.columns)


def read(connection: psycopg.Connection[Any], query: sql.Composable) -> Iterator[Values]:
    """The rows of a query."""
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as copy:
        for line in copy:
            data = bytes(line)[:-1]
            values: Values = data.split(b"\t")
            yield [_value(value) for value in values] if b"\\" in data else values


def batches(rows: Iterable[Values], table: Described, tx: Transaction, size: int = BATCH_ROWS) -> Iterator[list[Raw]]:
    """Rows as captured ones (`op` r), at most `size` at a time."""
    found: list[Raw] = []
    for values in rows:
        found.append(Raw("r", tx, tx.commit_lsn, table, values))
        if len(found) >= size:
            yield found
            found = []
    if found:
        yield found


def numbered(names: Sequence[str], table: Described) -> tuple[int, ...]:
    """The positions of these columns."""
    at = {column.name: n for n, column in enumerate(table.relation.columns)}
    return tuple(at[name] for name in names)


def _value(value: bytes) -> bytes | None:
    if value == b"\\N":
        return None
    return unescape(value) if b"\\" in value else value


def unescape(value: bytes) -> bytes:
    """COPY's text format (PostgreSQL manual, COPY, "Text Format")."""
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), value)


def with_key(table: Described, at: Sequence[int], key: Sequence[bytes]) -> Values:
    """A row of which nothing but the key is known, as an old row comes."""
    values: Values = [None] * table.width
    for n, text in zip(at, key, strict=True):
        values[n] = text
    return values
