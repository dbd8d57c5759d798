"""How a source table is cut into chunks, and the SQL that reads one: blocks of its heap, keys in order, single keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.statements import table_name
from cdc.errors import ConfigError, TableRefused
from cdc.snapshot.requests import Key, Scope


@dataclass(frozen=True, slots=True)
class Blocks:
    """Heap blocks from `first` up to `end`; no end: as far as the table goes.

    Where rows lie changes with time: good for one snapshot, and where the stream brings every row that moves.
    """

    first: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Heap:
    """A table's file and its size now; `file` is None for a table that has no heap of its own (partitioned)."""

    file: int | None
    blocks: int


@dataclass(frozen=True, slots=True)
class Keys:
    """A table's key columns and their types, as SQL writes them."""

    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def names(self) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier("t", name) for name in self.columns)

    def value(self, key: Key) -> sql.Composed:
        """A row value; its parts are told as literals, because COPY takes no parameters."""
        return sql.SQL("ROW({})").format(
            sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Literal(text), sql.SQL(kind))
                for text, kind in zip(key, self.types, strict=True)
            )
        )

    def after(self, key: Key, sign: str) -> sql.Composed:
        return sql.SQL("ROW({}) {} {}").format(self.names, sql.SQL(sign), self.value(key))

    def within(self, scope: Scope, after: Key | None) -> sql.Composable:
        """The rows of the scope that come after a key."""
        parts: list[sql.Composable] = []
        if after is not None:
            parts.append(self.after(after, ">"))
        elif scope.first is not None:
            parts.append(self.after(scope.first, ">="))
        if scope.last is not None:
            parts.append(self.after(scope.last, "<="))
        return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")

    def listed(self, keys: Sequence[Key]) -> sql.Composed:
        """The keys as a relation `k`, to be joined with."""
        arrays = sql.SQL(", ").join(
            sql.SQL("{}::{}[]").format(sql.Literal(list(texts)), sql.SQL(kind))
            for texts, kind in zip(zip(*keys, strict=True), self.types, strict=True)
        )
        names = sql.SQL(", ").join(sql.Identifier(f"k{n}") for n in range(len(self.columns)))
        return sql.SQL("unnest({}) AS k({})").format(arrays, names)

    @property
    def matches(self) -> sql.Composed:
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("t", name), sql.Identifier("k", f"k{n}"))
            for n, name in enumerate(self.columns)
        )

    def rows_at(self, keys: Sequence[Key], columns: Sequence[str]) -> sql.Composed:
        """The rows of these keys; LIMIT keeps the planner at the index."""
        return sql.SQL("SELECT {} FROM {} CROSS JOIN LATERAL (SELECT t.* FROM {} t WHERE {} LIMIT 1) t").format(
            sql.SQL(", ").join(sql.Identifier("t", name) for name in columns),
            self.listed(keys),
            table_name(self.table),
            self.matches,
        )

    def absent(self, keys: Sequence[Key]) -> sql.Composed:
        """Those of these keys that no row has."""
        return sql.SQL(
            "SELECT {} FROM {} LEFT JOIN LATERAL (SELECT true AS found FROM {} t WHERE {} LIMIT 1) f ON true"
            " WHERE f.found IS NULL"
        ).format(
            sql.SQL(", ").join(sql.Identifier("k", f"k{n}") for n in range(len(self.columns))),
            self.listed(keys),
            table_name(self.table),
            self.matches,
        )


def keys_of(connection: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> Keys:
    """Raises: TableRefused for a column that is not there, or that may be NULL: no order would find such rows."""
    rows = connection.execute(
        # -1: as long as it likes; without it char(n) and bit(n) would be cut to one.
        "SELECT attname, format_type(atttypid, -1), attnotnull FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [table_name(table).as_string(connection)],
    ).fetchall()
    known = {name: (kind, not_null) for name, kind, not_null in rows}
    for column in columns:
        if column not in known:
            raise TableRefused(f"{table} has no column {column}, which its mapping's key names: correct the mapping")
        if not known[column][1]:
            raise TableRefused(f"{table}.{column} is part of the mapping's key and may be NULL: make it NOT NULL")
    return Keys(table, tuple(columns), tuple(known[column][0] for column in columns))


def heap_of(connection: psycopg.Connection[Any], table: str) -> Heap:
    row = connection.execute(
        "SELECT CASE WHEN relkind = 'r' THEN pg_relation_filenode(oid)::bigint END,"
        " pg_relation_size(oid) / current_setting('block_size')::bigint"
        " FROM pg_class WHERE oid = to_regclass(%s)",
        [table_name(table).as_string(connection)],
    ).fetchone()
    return Heap(*row) if row is not None else Heap(None, 0)


def text_of(value: object) -> str:
    """A key's value as PostgreSQL reads it."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def ranges(heap: Heap, each: int) -> list[Blocks]:
    """Even ranges; the last one has no end, and a partitioned table is one range. Pure."""
    if heap.file is None:
        return [Blocks(0, None)]
    starts = list(range(0, heap.blocks, each)) or [0]
    return [Blocks(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def in_blocks(blocks: Blocks) -> sql.Composable:
    parts: list[sql.Composable] = []
    if blocks.first:
        parts.append(sql.SQL("t.ctid >= {}::tid").format(sql.Literal(f"({blocks.first},0)")))
    if blocks.end is not None:
        parts.append(sql.SQL("t.ctid < {}::tid").format(sql.Literal(f"({blocks.end},0)")))
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")


def select(table: str, what: sql.Composable, where: sql.Composable, tail: sql.Composable | None = None) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {} t WHERE {} {}").format(what, table_name(table), where, tail or sql.SQL(""))


def expected(connection: psycopg.Connection[Any], query: sql.Composable) -> int:
    """About how many rows it gives, as the planner thinks."""
    row = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query)).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row is not None else 0


def checked(connection: psycopg.Connection[Any], keys: Keys, scope: Scope) -> None:
    """Raises: ConfigError for a key that is none of this table's."""
    given = [key for key in (scope.first, scope.last, *(scope.keys or ())) if key is not None]
    for key in given:
        if len(key) != len(keys.columns):
            raise ConfigError(f"key {list(key)} of {keys.table}: it has {len(keys.columns)} columns, {_names(keys)}")
        try:
            connection.execute(sql.SQL("SELECT {}").format(keys.value(key)))
        except psycopg.DataError as e:
            raise ConfigError(f"key {list(key)} of {keys.table} ({_names(keys)}): {e.diag.message_primary}") from e
    if scope.first is not None and scope.last is not None:
        query = sql.SQL("SELECT {} <= {}").format(keys.value(scope.first), keys.value(scope.last))
        row = connection.execute(query).fetchone()
        if row is not None and not row[0]:
            raise ConfigError(f"--from {list(scope.first)} comes after --to {list(scope.last)}: exchange them")


def _names(keys: Keys) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in zip(keys.columns, keys.types, strict=True))
