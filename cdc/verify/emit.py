"""Writes one owner's row, or its absence, at the other side, as the mapping makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from psycopg.types.json import Json, Jsonb

from cdc.apply.session import is_poison
from cdc.errors import first_line
from cdc.mapping import ConversionError, Direction, Side, TableMapping, reader
from cdc.mapping.reader import Shape
from cdc.verify import rows
from cdc.verify.window import ENDS

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Emitter:
    """For one table; rows come as `shapes` read them."""

    table: TableMapping
    shapes: Mapping[Side, Shape]

    def write(
        self, target: psycopg.Connection[Any], direction: Direction, key: Any, row: rows.Row | None
    ) -> str | None:
        """Why the target refused it, if it did."""
        source, side = ENDS[direction]
        table = reader.name(self.table.target(direction))
        names = self.table.key(direction)
        target.execute("SAVEPOINT one")
        try:
            if row is None:
                where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in names)
                values = key if isinstance(key, tuple) else (key,)
                target.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table, where), values)
            else:
                plan = self.table.plan(direction)
                image = plan.translate(dict(zip(self.shapes[source].columns, row, strict=True)))
                target.execute(_upsert(table, names, list(image)), self._adapted(side, image))
            target.execute("RELEASE one")
        except (psycopg.Error, ConversionError) as error:
            if not is_poison(error):
                raise
            target.execute("ROLLBACK TO one")
            return first_line(error)
        return None

    def _adapted(self, side: Side, image: Mapping[str, Any]) -> list[Any]:
        shape = self.shapes[side]
        kinds = {name: shape.type_of(name) for name in shape.columns}
        wrap = {"json": Json, "jsonb": Jsonb}
        return [
            wrap[kinds[name]](value, dumps=_encode) if value is not None and kinds.get(name) in wrap else value
            for name, value in image.items()
        ]


def _upsert(table: sql.Composable, key: Sequence[str], columns: Sequence[str]) -> sql.Composed:
    rest = [column for column in columns if column not in key]
    action = sql.SQL("DO UPDATE SET {}").format(
        sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in rest)
    )
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) ON CONFLICT ({}) {}").format(
        table,
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join([sql.SQL("%s")] * len(columns)),
        sql.SQL(", ").join(map(sql.Identifier, key)),
        action if rest else sql.SQL("DO NOTHING"),
    )
