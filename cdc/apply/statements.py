"""The SQL of a run, for single rows and for a temporary table filled by COPY."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """A new wide row holds in its parts' columns what it holds without them; one that is there keeps what it holds."""
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) {}").format(
        table_name(route.target),
        _names((*columns, *route.fills)),
        sql.SQL(", ").join([*map(sql.Placeholder, columns), *map(_percent, _fills(route))]),
        _conflict(route, columns),
    )


def _fills(route: Route) -> list[sql.Composed]:
    return [sql.Composed([sql.Literal(value)]) for value in route.fills.values()]


def upsert_values(route: Route, columns: Sequence[str]) -> sql.Composed:
    """With one `%s` for the rows; they are literals whose types the columns decide."""
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES %s {}").format(
        table_name(route.target), _percent(_names(columns)), _percent(_conflict(route, columns))
    )


def upsert_unnest(route: Route, columns: Sequence[str], casts: Mapping[str, str]) -> sql.Composed:
    """With one `%s` for each column, an array of its texts. An array column's values stay texts until they are taken
    apart: unnest would flatten them.
    """
    arrays = [sql.SQL("%s::text[]" if casts[c].endswith("]") else f"%s::{casts[c]}[]") for c in columns]
    picked = [
        sql.SQL("{}::{}").format(sql.Identifier(c), sql.SQL(casts[c]))
        if casts[c].endswith("]")
        else sql.SQL("{}").format(sql.Identifier(c))
        for c in columns
    ]
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM unnest({}) AS s ({}) {}").format(
        table_name(route.target),
        _percent(_names(columns)),
        _percent(sql.SQL(", ").join(picked)),
        sql.SQL(", ").join(arrays),
        _percent(_names(columns)),
        _percent(_conflict(route, columns)),
    )


def delete_keys(route: Route) -> sql.Composed:
    """With one `%s` for the keys."""
    return sql.SQL("DELETE FROM {} WHERE ({}) IN (%s)").format(table_name(route.target), _percent(_names(route.key)))


def _percent(part: sql.Composed) -> sql.SQL:
    """For text that is a format itself."""
    return sql.SQL(part.as_string(None).replace("%", "%%"))


def copy(into: sql.Identifier, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN").format(into, _names(columns))


def met(update: sql.Composed, rows: int) -> sql.Composed:
    """Fails (division by zero) unless the update meets so many rows: the rest of its script must not be done then."""
    return sql.SQL("WITH met AS ({} RETURNING 1) SELECT 1 / (count(*) = {})::int FROM met").format(update, rows)


def delete(route: Route) -> sql.Composed:
    return sql.SQL("DELETE FROM {} WHERE {}").format(table_name(route.target), _marks(route.key, " AND "))


def blank(route: Route) -> sql.Composed:
    return sql.SQL("UPDATE {} SET {} WHERE {}").format(
        table_name(route.target), _percent(_without(route)), _marks(route.key, " AND ")
    )


def _without(route: Route) -> sql.Composed:
    """A wide row's columns as they are without this part."""
    pairs = (sql.SQL("{} = {}").format(sql.Identifier(c), sql.Literal(value)) for c, value in route.absent.items())
    return sql.SQL(", ").join(pairs)


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
    """Of every row of the target `t`, to which a condition may be added. A part empties its columns only.

    DELETE, not TRUNCATE: a truncate fails where another table's foreign key points here.
    """
    target = sql.SQL("{} t").format(table_name(route.target))
    if not route.makes:
        return sql.SQL("UPDATE {} SET {}").format(target, _without(route))
    return sql.SQL("DELETE FROM {}").format(target)


@dataclass(frozen=True, slots=True)
class Bulk:
    """COPY into a temporary table, then one statement into the target."""

    create: sql.Composed
    empty: sql.Composed
    copy: sql.Composed
    merge: sql.Composed


def bulk(kind: str, route: Route, columns: Sequence[str], name: str) -> Bulk:
    """`columns` are those of the temporary table: the written ones, or the key for a delete or blank."""
    temp, target = sql.Identifier("pg_temp", name), table_name(route.target)
    same_key = sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(c)) for c in route.key)
    match kind:
        case "upsert":
            merge = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} {}").format(
                target,
                _names((*columns, *route.fills)),
                sql.SQL(", ").join([*map(sql.Identifier, columns), *_fills(route)]),
                temp,
                _conflict(route, columns),
            )
        case "delete":
            merge = sql.SQL("DELETE FROM {} t USING {} s WHERE {}").format(target, temp, same_key)
        case "blank":
            merge = sql.SQL("UPDATE {} t SET {} FROM {} s WHERE {}").format(target, _without(route), temp, same_key)
        case _:
            merge = sql.SQL("UPDATE {} t SET {} FROM {} s WHERE {}").format(
                target, _assignments(columns, "s"), temp, same_key
            )
    return Bulk(
        create=sql.SQL(
            "CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA"
        ).format(sql.Identifier(name), _names(columns), target),
        empty=sql.SQL("TRUNCATE {}").format(temp),
        copy=copy(temp, columns),
        merge=merge,
    )


def column_types(connection: psycopg.Connection[Any], route: Route) -> dict[str, tuple[str, str]]:
    """Of each column its type's internal name (`int8`, `_text`), and its name for a cast, without length or scale."""
    rows = connection.execute(
        "SELECT attname, typname, format_type(atttypid, -1) FROM pg_attribute JOIN pg_type t ON t.oid = atttypid"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [table_name(route.target).as_string(connection)],
    ).fetchall()
    return {name: (internal, cast) for name, internal, cast in rows}


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
