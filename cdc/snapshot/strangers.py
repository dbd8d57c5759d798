"""Rows of the target that the source does not have, found range by range of the target's keys.

Looked for by key: whatever the order of keys is on either side, a row is deleted only if the source was asked for
exactly its key and had none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import sql

from cdc.apply import statements
from cdc.apply.route import Route, Routes
from cdc.capture.raw import Described
from cdc.change import Row, Transaction
from cdc.mapping.errors import ConversionError, MappingError
from cdc.snapshot.batch import Put
from cdc.snapshot.brake import Brake
from cdc.snapshot.chunks import Keys, keys_of, select, text_of
from cdc.snapshot.held import Begin, transaction
from cdc.snapshot.requests import WHOLE, Key, Scope
from cdc.snapshot.table import batches, describe, names_of, numbered, read
from cdc.snapshot.window import Chunk, Window

# Keys of the target that are looked up at the source at once.
STRANGERS = 10_000

log = structlog.get_logger("cdc.snapshot")


def plain_key(route: Route) -> bool:
    """Whether the key's values are the same on both sides. Pure."""
    given: Row = {name: object() for name in route.source_key}
    try:
        there = route.translate(given)
    except ConversionError:
        return False
    return all(there.get(k) is given[s] for s, k in zip(route.source_key, route.key, strict=True))


@dataclass(frozen=True, slots=True)
class TargetKeys:
    """Reads the target's keys, over a connection of its own."""

    connection: psycopg.Connection[Any]
    route: Route
    keys: Keys
    table: Described
    plain: bool

    @classmethod
    def of(cls, connection: psycopg.Connection[Any], route: Route) -> TargetKeys:
        """Raises: TableRefused."""
        table = describe(connection, route.target, route.key, route.key)
        return cls(connection, route, keys_of(connection, route.target, route.key), table, plain_key(route))

    def after(self, position: Key | None, scope: Scope, limit: int) -> list[tuple[Key, Key]]:
        """(target's key, source's key) of the next rows in the target's order. Raises: ConversionError, MappingError.

        A range is that of the source's keys, so it needs a plain key.
        """
        order = sql.SQL("ORDER BY {} LIMIT {}").format(self.keys.names, sql.Literal(limit))
        query = select(self.route.target, self.keys.names, self.keys.within(scope, position), order)
        found: list[Key] = [
            tuple((value or b"").decode() for value in values) for values in read(self.connection, query)
        ]
        return [(key, key if self.plain else self._source_key(key)) for key in found]

    def _source_key(self, key: Key) -> Key:
        at = numbered(self.route.key, self.table)
        row = {
            name: self.table.loaders[n](text.encode()) for name, n, text in zip(self.route.key, at, key, strict=True)
        }
        there = self.route.mapping.translate(row, "reverse" if self.route.direction == "forward" else "forward")
        try:
            return tuple(text_of(there[name]) for name in self.route.source_key)
        except KeyError as e:
            lacks = f"the key of {self.route.target} does not tell {e.args[0]} of {self.route.source}"
            raise MappingError(lacks) from e


def absent(source: psycopg.Connection[Any], keys: Keys, wanted: Sequence[Key]) -> list[list[bytes]]:
    """Those of these keys, as texts, that the source does not have as its connection sees it now."""
    if not wanted:
        return []
    return [[value or b"" for value in values] for values in read(source, keys.absent(wanted))]


def makers(routes: Routes, source: str) -> list[Route]:
    """Of a source table the routes whose rows at the target it alone brings: it can tell which are strangers."""
    makes = [route.target for route in routes.every() if route.makes]
    return [route for route in routes.of_table(source) if route.makes and makes.count(route.target) == 1]


def remove_strangers(
    source: psycopg.Connection[Any],
    put: Put,
    route: Route,
    table: Described,
    tx: Transaction,
    begin: Begin,
    brake: Brake,
) -> None:
    """Rows of an earlier fill that the snapshot does not have. Before the rows: they may hold unique values."""
    try:
        removed = _remove_from(source, put, route, table, tx, begin, brake)
    except (ConversionError, MappingError) as e:
        log.warning("rows that the source lacks are not looked for", table=route.target, reason=str(e))
        return
    if removed:
        log.info("rows removed that the snapshot does not have", table=route.target, rows=removed)


def blank_strangers(
    source: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    route: Route,
    table: Described,
    tx: Transaction,
    begin: Begin,
) -> None:
    """Of a route that fills parts of wide rows: parts that the snapshot does not have hold nothing again."""
    names = sql.SQL(", ").join(map(sql.Identifier, route.key))
    same = sql.SQL(" AND ").join(sql.SQL("s.{0} = t.{0}").format(sql.Identifier(c)) for c in route.key)
    seen = sql.SQL("CREATE TEMP TABLE banyan_seen ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
    query = select(route.source, names_of(table), sql.SQL("true"))
    with transaction(target, begin):
        target.execute(seen.format(names, statements.table_name(route.target)))
        with target.cursor().copy(sql.SQL("COPY banyan_seen ({}) FROM STDIN").format(names)) as copy:
            for rows in batches(read(source, query), table, tx):
                for row in rows:
                    after = row.change().after or {}
                    key = route.translate({name: after[name] for name in route.source_key})
                    copy.write_row(route.target_key(key))
        target.execute("ANALYZE banyan_seen")
        where = sql.SQL("{} WHERE NOT EXISTS (SELECT FROM banyan_seen s WHERE {})")
        target.execute(where.format(statements.clear(route), same))


def _remove_from(
    source: psycopg.Connection[Any],
    put: Put,
    route: Route,
    table: Described,
    tx: Transaction,
    begin: Begin,
    brake: Brake,
) -> int:
    there = TargetKeys.of(put.connection, route)
    keys = keys_of(source, route.source, route.source_key)
    position: Key | None = None
    removed = 0
    while found := there.after(position, WHOLE, STRANGERS):
        brake.passed(0)
        gone = Chunk(table, (), absent(source, keys, [key for _, key in found]))
        # No window: nobody touches what a snapshot shows.
        if rows := list(Window(route).rows(gone, tx)):
            put.write(rows, lambda: begin(put.connection))
            removed += len(rows)
        position = found[-1][0]
    return removed
