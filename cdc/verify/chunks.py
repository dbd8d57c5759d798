"""Cuts a table into ranges of its leading key column, so that no window is open for long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.mapping import Side, reader
from cdc.mapping.reader import Shape

INTEGERS = frozenset({20, 21, 23})
UUID = 2950
# Alias of the compared table in every query (cdc.mapping.projection writes its expressions for it).
T = sql.Identifier("t")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Keys whose leading column lies in (after, upto]; None: no bound."""

    after: Any = None
    upto: Any = None

    def where(self, column: str) -> sql.Composable:
        """For a query that is executed without parameters."""
        name = sql.Identifier("t", column)
        parts = [sql.SQL("{} > {}").format(name, sql.Literal(self.after))] if self.after is not None else []
        parts += [sql.SQL("{} <= {}").format(name, sql.Literal(self.upto))] if self.upto is not None else []
        return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")


WHOLE = Chunk()


def divisible(shapes: Mapping[Side, Shape], keys: Mapping[Side, tuple[str, ...]]) -> bool:
    """Both sides sort the leading column alike, by an index that they have: text is sorted by each one's collation."""
    kinds = {shapes[side].oids[shapes[side].columns.index(keys[side][0])] for side in shapes}
    return kinds <= INTEGERS or kinds == {UUID}


def cut(
    connections: Mapping[Side, psycopg.Connection[Any]],
    tables: Mapping[Side, str],
    columns: Mapping[Side, str],
    rows: int,
) -> Iterator[Chunk]:
    """Chunks of about `rows` rows at most on either side, all keys once. Any cut is right, so it needs no snapshot."""
    after: Any = None
    while True:
        bounds = [
            bound
            for side, connection in connections.items()
            if (bound := _bound(connection, tables[side], columns[side], after, rows)) is not None
        ]
        upto = min(bounds) if bounds else None
        yield Chunk(after, upto)
        if upto is None:
            return
        after = upto


def _bound(connection: psycopg.Connection[Any], table: str, column: str, after: Any, rows: int) -> Any:
    query = sql.SQL("SELECT t.{column} FROM {table} t WHERE {where} ORDER BY t.{column} OFFSET {rows} LIMIT 1").format(
        column=sql.Identifier(column),
        table=reader.name(table),
        where=Chunk(after=after).where(column),
        rows=sql.Literal(rows),
    )
    row = connection.execute(query).fetchone()
    return row[0] if row else None
