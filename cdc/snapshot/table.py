"""Reads one table inside an exported snapshot: COPY text rows as changes (`op` r), in batches. Bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.statements import table_name
from cdc.capture.types import loader
from cdc.change import Change, Column, Relation, Row, Transaction
from cdc.errors import TableRefused

BATCH_ROWS = 10_000

_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def describe(connection: psycopg.Connection[Any], table: str, key: Sequence[str]) -> Relation:
    """The table as pgoutput would describe it. Raises: TableRefused."""
    rows = connection.execute(
        "SELECT c.oid::bigint, a.attname, a.atttypid::bigint, a.atttypmod"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.oid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
        " ORDER BY a.attnum",
        [table_name(table).as_string(connection)],
    ).fetchall()
    if not rows:
        raise TableRefused(f"source table {table} does not exist: correct the mapping")
    schema, name = table.split(".", 1)
    columns = tuple(Column(column, oid, modifier, column in key) for _, column, oid, modifier in rows)
    return Relation(rows[0][0], schema, name, columns)


def read(
    connection: psycopg.Connection[Any],
    relation: Relation,
    names: Sequence[str],
    tx: Transaction,
    batch: int = BATCH_ROWS,
) -> Iterator[list[Change]]:
    """The columns `names` of all rows, as changes, at most `batch` at a time."""
    columns = [column for column in relation.columns if column.name in names]
    loaders = [(column.name, loader(column.type_oid)) for column in columns]
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(
        sql.SQL(", ").join(sql.Identifier(column.name) for column in columns), table_name(relation.name)
    )
    changes: list[Change] = []
    with connection.cursor().copy(query) as copy:
        for line in copy:
            row: Row = {}
            for (name, load), value in zip(loaders, bytes(line)[:-1].split(b"\t"), strict=True):
                row[name] = None if value == b"\\N" else load(unescape(value) if b"\\" in value else value)
            changes.append(Change("r", tx, tx.commit_lsn, relation, None, row, None, True))
            if len(changes) >= batch:
                yield changes
                changes = []
    if changes:
        yield changes


def unescape(value: bytes) -> bytes:
    """COPY's text format (PostgreSQL manual, COPY, "Text Format")."""
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), value)
