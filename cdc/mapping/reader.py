"""Streams a table in key order, in batches of bounded size, as a mapping sees its rows."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cdc.mapping.errors import MappingError

BATCH_ROWS = 5_000
_numbers = itertools.count(1)
# Types whose binary form psycopg turns into a Python value; everything else is read as text, which compares as well.
TYPES: dict[int, LiteralString] = {
    16: "boolean",
    17: "bytea",
    20: "bigint",
    21: "smallint",
    23: "integer",
    25: "text",
    114: "json",
    700: "real",
    701: "double precision",
    1043: "varchar",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamptz",
    1700: "numeric",
    2950: "uuid",
    3802: "jsonb",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A table's columns as they are read: expressions without the padding of char(n), and the types that come out."""

    table: str
    columns: tuple[str, ...]
    expressions: tuple[sql.Composable, ...]
    oids: tuple[int, ...]

    def select(self) -> sql.Composable:
        return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(self.expressions), name(self.table))

    def expression(self, column: str) -> sql.Composable:
        return self.expressions[self.columns.index(column)]

    def type_of(self, column: str) -> LiteralString:
        """The SQL name of the type that comes out."""
        return TYPES[self.oids[self.columns.index(column)]]

    def order(self, key: Sequence[str]) -> sql.Composable:
        """Both sides must sort alike, and as Python does: text by code point."""
        return sql.SQL(", ").join(self._ordered(column) for column in key)

    def _ordered(self, column: str) -> sql.Composable:
        collate: LiteralString = ' COLLATE "C"' if self.type_of(column) in ("text", "varchar") else ""
        return self.expression(column) + sql.SQL(collate)


def name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def shape(connection: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> Shape:
    """Look the types up. Raises: MappingError when the table or a column is not there."""
    wanted = sql.SQL(", ").join(map(sql.Identifier, columns))
    try:
        cursor = connection.execute(sql.SQL("SELECT {} FROM {} LIMIT 0").format(wanted, name(table)))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName) as error:
        raise MappingError(f"{table}: {error.diag.message_primary}") from error
    found = [column.type_code for column in cursor.description or ()]
    as_text: list[sql.Composable] = [
        sql.Identifier(c) if oid in TYPES else sql.SQL("{}::text").format(sql.Identifier(c))
        for c, oid in zip(columns, found, strict=True)
    ]
    return Shape(table, tuple(columns), tuple(as_text), tuple(oid if oid in TYPES else 25 for oid in found))


def stream(
    connection: psycopg.Connection[Any], shape: Shape, key: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Generator[list[tuple[Any, ...]], None, None]:
    """All rows by key, as lists of at most `batch_rows`, through a cursor at the server.

    Not COPY: psycopg hands its rows on one by one, which costs three times as much as a whole batch of a cursor.
    """
    query = sql.SQL("{} ORDER BY {}").format(shape.select(), shape.order(key))
    with connection.transaction(), connection.cursor(name=f"stream_{next(_numbers)}") as cursor:
        cursor.execute(query, binary=True)
        while batch := cursor.fetchmany(batch_rows):
            yield batch
