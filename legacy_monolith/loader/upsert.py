"""Many rows into a table that may hold them already: COPY to a temporary table, then write only what differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from legacy_monolith import localtime


@dataclass(frozen=True, slots=True)
class Counts:
    inserted: int
    updated: int
    unchanged: int

    def __str__(self) -> str:
        if not self.inserted and not self.updated:
            return f"nothing changed ({self.unchanged:,} were there)"
        return f"{self.inserted:,} inserted, {self.updated:,} updated, {self.unchanged:,} unchanged"


@dataclass(frozen=True, slots=True)
class Target:
    table: str
    keys: Sequence[str]
    values: Sequence[str]


def upsert(
    connection: psycopg.Connection[Any], target: Target, rows: Iterable[Sequence[Any]], *, overwrite: bool = True
) -> Counts:
    """`rows` hold keys, then values. In one transaction; without `overwrite` rows that exist stay as they are."""
    columns = [*target.keys, *target.values]
    names = {
        "table": sql.Identifier(target.table),
        "columns": _list(columns),
        "keys": _list(target.keys),
        "same_key": _pairs(target.keys, " AND "),
        "set": sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in target.values),
        "differs": sql.SQL("({}) IS DISTINCT FROM ({})").format(_list(target.values, "t"), _list(target.values, "i")),
    }
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA").format(
                **names
            )
        )
        total = 0
        with cursor.copy(sql.SQL("COPY incoming ({columns}) FROM STDIN").format(**names)) as copy:
            for row in rows:
                copy.write_row(row)
                total += 1
        cursor.execute("ANALYZE incoming")
        wanted = "t.{key} IS NULL OR {differs}" if overwrite else "t.{key} IS NULL"
        cursor.execute(
            sql.SQL(
                "WITH written AS ("
                " INSERT INTO {table} ({columns}, updated)"
                " SELECT i.*, %(now)s FROM incoming i LEFT JOIN {table} t ON {same_key}"
                f" WHERE {wanted} ORDER BY {{ordered}}"
                " ON CONFLICT ({keys}) DO UPDATE SET {set}, updated = excluded.updated"
                " RETURNING xmax = 0 AS inserted)"
                " SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written"
            ).format(**names, key=sql.Identifier(target.keys[0]), ordered=_list(target.keys, "i")),
            {"now": localtime.now()},
        )
        row = cursor.fetchone()
        assert row is not None
        return Counts(row[0], row[1], total - row[0] - row[1])


def _list(columns: Sequence[str], alias: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, c) if alias else sql.Identifier(c) for c in columns)


def _pairs(columns: Sequence[str], between: str) -> sql.Composed:
    return sql.SQL(between).join(sql.SQL("i.{0} = t.{0}").format(sql.Identifier(c)) for c in columns)
