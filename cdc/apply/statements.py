"""The SQL of a run, for single rows and for a temporary table filled by COPY."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from psycopg.types.json import Json, Jsonb

from cdc.apply.route import Route
from cdc.errors import TargetRefused

_encode = msgspec.json.Encoder(decimal_format="number").encode


def table_name(qualified: str) -> sql.Identifier:
    return sql.Identifier(*qualified.split(".", 1))


def _names(columns: Iterable[str], prefix: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(prefix, c) if prefix else sql.Identifier(c) for c in columns)


def _assignments(columns: Sequence[str], prefix: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(c), sql.Identifier(prefix, c)) for c in columns)


def _marks(columns: Sequence[str], joint: str) -> sql.Composed:
    pairs = (sql.SQL("{} = {}").format(sql.Identifier(c), sql.Placeholder(c)) for c in columns)
    return sql.SQL(joint).join(pairs)


def _conflict(route: Route, columns: Sequence[str]) -> sql.Composed:
    rest = [c for c in columns if c not in route.key]
    action = sql.SQL("DO UPDATE SET {}").format(_assignments(rest, "excluded")) if rest else sql.SQL("DO NOTHING")
    return sql.SQL("ON CONFLICT ({}) {}").format(_names(route.key), action)


def upsert(route: Route, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) {}").format(
        table_name(route.target),
        _names(columns),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
        _conflict(route, columns),
    )


def delete(route: Route) -> sql.Composed:
    return sql.SQL("DELETE FROM {} WHERE {}").format(table_name(route.target), _marks(route.key, " AND "))


def patch(route: Route, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("UPDATE {} SET {} WHERE {}").format(
        table_name(route.target), _marks(columns, ", "), _marks(route.key, " AND ")
    )


def move(route: Route, columns: Sequence[str]) -> sql.Composed:
    """Parameters: the new row's columns, and `old 0`, `old 1`, … for the key it has so far."""
    old = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(c), sql.Placeholder(f"old {n}")) for n, c in enumerate(route.key)
    )
    return sql.SQL("UPDATE {} SET {} WHERE {}").format(table_name(route.target), _marks(columns, ", "), old)


def clear(route: Route) -> sql.Composed:
    """DELETE, not TRUNCATE: a truncate fails where another table's foreign key points here."""
    return sql.SQL("DELETE FROM {}").format(table_name(route.target))


@dataclass(frozen=True, slots=True)
class Bulk:
    """COPY into a temporary table, then one statement into the target."""

    create: sql.Composed
    empty: sql.Composed
    copy: sql.Composed
    merge: sql.Composed


def bulk(kind: str, route: Route, columns: Sequence[str], name: str) -> Bulk:
    """`columns` are those of the temporary table: the written ones, or the key for a delete."""
    temp, target = sql.Identifier("pg_temp", name), table_name(route.target)
    same_key = sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(c)) for c in route.key)
    match kind:
        case "upsert":
            merge = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} {}").format(
                target, _names(columns), _names(columns), temp, _conflict(route, columns)
            )
        case "delete":
            merge = sql.SQL("DELETE FROM {} t USING {} s WHERE {}").format(target, temp, same_key)
        case _:
            merge = sql.SQL("UPDATE {} t SET {} FROM {} s WHERE {}").format(
                target, _assignments(columns, "s"), temp, same_key
            )
    return Bulk(
        create=sql.SQL(
            "CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA"
        ).format(sql.Identifier(name), _names(columns), target),
        empty=sql.SQL("TRUNCATE {}").format(temp),
        copy=sql.SQL("COPY {} ({}) FROM STDIN").format(temp, _names(columns)),
        merge=merge,
    )


Adapter = Callable[[Any], Any]


def adapters(connection: psycopg.Connection[Any], route: Route) -> dict[str, Adapter]:
    """What turns Python values into the target's json and jsonb columns. Raises: TargetRefused for a missing column."""
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [table_name(route.target).as_string(connection)],
    ).fetchall()
    types = dict(rows)
    if missing := [c for c in route.columns if c not in types]:
        raise TargetRefused(
            f"target {route.target} lacks {', '.join(missing)}: migrate the target's schema, or change the mapping"
        )
    return {
        name: _json if types[name] == "json" else _jsonb for name in route.columns if types[name] in ("json", "jsonb")
    }


def _json(value: Any) -> Any:
    return None if value is None else Json(value, dumps=_encode)


def _jsonb(value: Any) -> Any:
    return None if value is None else Jsonb(value, dumps=_encode)
