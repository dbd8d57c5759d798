"""What a table looks like to a stream: columns, identity, unique keys. Read from the catalog or from pgoutput."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec
import psycopg
from psycopg.postgres import types

from cdc import change

_SELECT = files("cdc.schema").joinpath("shape.sql").read_text("utf-8")
# The catalog says what is there now; by name, or by the oid that a table had.
_BY_NAME = """
SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname || '.' || c.relname = %s AND c.relkind IN ('r', 'p')
"""


class Column(msgspec.Struct, frozen=True):
    """`number` stays when a column is renamed; 0 where it is not known. `modifier`: length, precision and scale."""

    name: str
    type: str
    oid: int
    modifier: int = -1
    not_null: bool = False
    default: bool = False
    number: int = 0

    @property
    def required(self) -> bool:
        """Whoever inserts a row must give a value."""
        return self.not_null and not self.default


class Shape(msgspec.Struct, frozen=True):
    """`key`: the replica identity's columns, empty for FULL and NOTHING; `unique`: what an upsert can go by."""

    id: int
    table: str
    columns: tuple[Column, ...]
    identity: str = "d"
    key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    published: bool = True

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()


def from_json(data: str | bytes) -> Shape:
    return msgspec.json.decode(data, type=Shape)


def read(connection: psycopg.Connection[Any], table: str, publication: str | None = None) -> Shape | None:
    """The table of that name as it is now; None when there is none."""
    row = connection.execute(_BY_NAME, [table]).fetchone()
    if row is None:
        return None
    with psycopg.RawCursor(connection) as cursor:
        found = cursor.execute(_SELECT.replace("$1", "$1::oid"), [row[0], publication]).fetchone()
    return msgspec.convert(found[0], Shape) if found is not None else None


def described(relation: change.Relation) -> Shape:
    """What pgoutput tells of a table: no defaults, no NOT NULL; names and types of columns, and the identity."""
    columns = tuple(Column(c.name, _type_name(c.type_oid), c.type_oid, c.modifier) for c in relation.columns)
    key = () if relation.identity in "fn" else tuple(c.name for c in relation.columns if c.key)
    return Shape(relation.id, relation.name, columns, relation.identity, key)


def _type_name(oid: int) -> str:
    found = types.get(oid)
    return found.name if found is not None else f"type {oid}"
