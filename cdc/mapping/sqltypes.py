"""The types of mapped columns, and how a value of each is written as a text that two databases agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cdc.mapping.table import TableMapping

# column → type as format_type() names it. A domain counts as its base type, a type that is not PostgreSQL's as OTHER.
Types = Mapping[str, str]
OTHER = "other"

COLUMN_TYPES = """
WITH RECURSIVE wanted AS (
    SELECT n.nspname || '.' || c.relname AS name, a.attname, a.atttypid AS type
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND n.nspname || '.' || c.relname = ANY (%s)
), base AS (
    SELECT name, attname, type FROM wanted
    UNION ALL
    SELECT b.name, b.attname, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type
     WHERE t.typtype = 'd'
)
SELECT b.name, b.attname,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN format_type(t.oid, NULL) ELSE 'other' END
  FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type
 WHERE t.typtype <> 'd'
"""

NUMBERS = ("smallint", "integer", "bigint", "numeric")
FLOATS = ("real", "double precision")
_SENT: dict[str, LiteralString] = {  # their wire form: no session setting shows in it, and it costs less than printing
    "date": "date_send",
    "time without time zone": "time_send",
    "timestamp without time zone": "timestamp_send",
    "timestamp with time zone": "timestamptz_send",
    "interval": "interval_send",
}


def column_types(connection: psycopg.Connection[Any], tables: Iterable[str]) -> dict[str, Types]:
    """Of each table that exists."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(COLUMN_TYPES, (list(tables),)):
        found.setdefault(table, {})[column] = kind
    return {**found}


def types_of(
    legacy: psycopg.Connection[Any], service: psycopg.Connection[Any], table: TableMapping
) -> tuple[Types, Types]:
    """Both sides' types of one table (no columns of a table that is not there)."""
    here, there = column_types(legacy, [table.legacy]), column_types(service, [table.service])
    return here.get(table.legacy, {}), there.get(table.service, {})


def family(kind: str) -> str:
    """Values of one family compare alike, whatever their types; `text` is everything that is read as text."""
    if kind in NUMBERS:
        return "number"
    if kind in FLOATS:
        return "float"
    if kind in ("json", "jsonb"):
        return "json"
    return kind if kind in _SENT or kind in ("boolean", "bytea", "uuid") else "text"


def cast(value: sql.Composable, kind: str, to: str) -> sql.Composable:
    """As the target's type, without its length or scale: those are the target's to enforce.

    Types that only the target knows travel as text, which they read.
    """
    if to == OTHER or (kind == OTHER and to == "text"):
        return sql.SQL("({}::text)").format(value)
    if kind == "character" and to != "character":
        padded = sql.SQL("(CASE WHEN {0} IS NOT NULL THEN concat({0}) END)").format(
            value
        )  # a cast would cut the blanks
        return padded if to == "text" else sql.SQL("({}::{})").format(padded, _name(to))
    return value if kind == to else sql.SQL("({}::{})").format(value, _name(to))


def canonical_text(value: sql.Composable, kind: str) -> sql.Composable:
    """Equal texts for equal values of a family; NULL stays NULL."""
    match family(kind):
        case "number":
            plain = sql.SQL("trim_scale({})").format(value) if kind == "numeric" else value
            return sql.SQL("({}::text)").format(plain)
        case "float":
            return sql.SQL("(({} + 0::{})::text)").format(value, _name(kind))  # there is a negative zero
        case "json":
            return _canonical_json(value)
        case "bytea":
            return sql.SQL("encode({}, 'hex')").format(value)
        case sent if sent in _SENT:
            return sql.SQL("encode({}({}), 'hex')").format(sql.SQL(_SENT[sent]), value)
        case _:
            return sql.SQL("({}::text)").format(value)


# A whole string, which stays; or what a number needs not: `.00`, or the zeros after `.05` in `.0500`.
_STRING = r'("(?:[^"\\]|\\.)*")'
_WHOLE, _ENDS = _STRING + r"|\.0+(?![0-9])", _STRING + r"|(\.[0-9]*[1-9])0+(?![0-9])"


def _canonical_json(value: sql.Composable) -> sql.Composable:
    """jsonb prints one text for equal documents but for the scale of numbers, which is as written (1.0, 1.00).

    Its own hash will not do: by it `[]` is `{}`, and what stands 64 elements apart in an array changes places unseen.
    """
    query = "CASE WHEN {1} THEN regexp_replace(regexp_replace({0}, {2}, '\\1', 'g'), {3}, '\\1\\2', 'g') ELSE {0} END"
    text = sql.SQL("({}::jsonb::text)").format(value)
    fraction = sql.SQL("strpos({}, '.') > 0").format(text)
    return sql.SQL("({})").format(sql.SQL(query).format(text, fraction, sql.Literal(_WHOLE), sql.Literal(_ENDS)))


def _name(kind: str) -> sql.Composable:
    """`character` alone would mean one letter. The names come from format_type()."""
    return sql.SQL("bpchar" if kind == "character" else kind)
