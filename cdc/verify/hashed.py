"""Compares two sides by hashes that the databases make: sums of groups of keys, then the keys of groups that differ.

A sum, and not XOR: two equal rows too many would cancel out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.mapping import Side, TableMapping, reader
from cdc.mapping.projection import Canonical, canonical
from cdc.mapping.reader import Shape
from cdc.mapping.sqltypes import types_of
from cdc.mapping.zones import disagreement
from cdc.verify.chunks import INTEGERS, Chunk
from cdc.verify.compare import Comparison

GROUP_KEYS = 1_000
# Groups of keys that are no numbers: by their hash, in one chunk.
HASH_GROUPS = 4_096

Groups = dict[Any, tuple[int, Any]]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows on both sides, and the keys that are not alike."""

    rows: Mapping[Side, int]
    suspects: list[Any]


@dataclass(frozen=True, slots=True)
class Hashed:
    """One table's queries. `group`: which group of keys a row belongs to, by the same rule on both sides."""

    comparison: Comparison
    shapes: Mapping[Side, Shape]
    canonicals: Mapping[Side, Canonical]
    groups: Mapping[Side, sql.Composable]
    leading: Mapping[Side, str]
    zone: str | None = None  # the only one that the expressions convert to

    @classmethod
    def of(
        cls, comparison: Comparison, shapes: Mapping[Side, Shape], connections: Mapping[Side, psycopg.Connection[Any]]
    ) -> Hashed | None:
        """None where only Python can compare."""
        table = comparison.table
        if any(not _same_clocks(connection, table) for connection in connections.values()):
            return None
        types = types_of(connections["legacy"], connections["service"], table)
        found = {side: canonical(table, side, *types) for side in connections}
        known = {side: one for side, one in found.items() if one is not None}
        if len(known) < len(found):
            return None
        groups = {side: _group(table, side, known[side], shapes) for side in known}
        leading = {side: known[side].key_columns[0] for side in known}
        zones = {rule.converter.zone for rule in table.rules if rule.converter and rule.converter.zone}
        return cls(comparison, shapes, known, groups, leading, zones.pop() if len(zones) == 1 else None)

    def compare(
        self, connections: Mapping[Side, psycopg.Connection[Any]], chunk: Chunk, workers: Executor, enough: int
    ) -> Found:
        """Both databases at once. At most `enough` suspects."""
        tasks = {side: workers.submit(self._sums, side, connections[side], chunk) for side in connections}
        legacy, service = tasks["legacy"].result(), tasks["service"].result()
        rows: dict[Side, int] = {
            "legacy": sum(count for count, _ in legacy.values()),
            "service": sum(count for count, _ in service.values()),
        }
        differing = [group for group in {**legacy, **service} if legacy.get(group) != service.get(group)]
        suspects: list[Any] = []
        while differing and len(suspects) < enough:
            some, differing = differing[:100], differing[100:]
            here, there = (self._keys(side, connections[side], chunk, some) for side in ("legacy", "service"))
            suspects += [key for key in {**here, **there} if here.get(key) != there.get(key)]
        return Found(rows, suspects[:enough])

    def _sums(self, side: Side, connection: psycopg.Connection[Any], chunk: Chunk) -> Groups:
        query = sql.SQL("SELECT {group}, count(*), sum({hash}) FROM {table} t WHERE {where} GROUP BY 1").format(
            **self._parts(side, chunk)
        )
        with self._local(connection, query) as asked:
            return {group: (count, total) for group, count, total in connection.execute(asked)}

    def _keys(self, side: Side, connection: psycopg.Connection[Any], chunk: Chunk, groups: list[Any]) -> dict[Any, Any]:
        shape, count = self.shapes[side], len(self.canonicals[side].key_columns)
        query = sql.SQL("SELECT {key}, {hash} FROM {table} t WHERE {where} AND {group} = ANY ({groups})").format(
            **self._parts(side, chunk),
            key=sql.SQL(", ").join(map(shape.expression, self.canonicals[side].key_columns)),
            groups=sql.Literal(groups),
        )
        with self._local(connection, query) as asked:
            cursor = connection.cursor(binary=True).execute(asked)
            return {self.comparison.key_of(row): row[count] for row in cursor}

    @contextmanager
    def _local(self, connection: psycopg.Connection[Any], query: sql.Composed) -> Iterator[bytes]:
        """The same query in the session's zone, where the server can (PostgreSQL 17): `AT TIME ZONE` looks its zone up
        by name for each row, which is most of what a comparison of times costs. The expressions depend on no zone.
        """
        text = query.as_bytes(connection)
        named = f" AT TIME ZONE {sql.Literal(self.zone).as_string(connection)}".encode()
        if self.zone is None or named not in text or connection.info.server_version < 170000:
            yield text
            return
        connection.execute(sql.SQL("SET LOCAL timezone = {}").format(sql.Literal(self.zone)))
        yield text.replace(named, b" AT LOCAL")
        connection.execute("SET LOCAL timezone = 'UTC'")

    def _parts(self, side: Side, chunk: Chunk) -> dict[str, sql.Composable]:
        return {
            "group": self.groups[side],
            "hash": self.canonicals[side].row_hash,
            "table": reader.name(self.comparison.table.table(side)),
            "where": chunk.where(self.leading[side]),
        }


_clocks: dict[tuple[str, int, frozenset[str]], bool] = {}


def _same_clocks(connection: psycopg.Connection[Any], table: TableMapping) -> bool:
    """Whether the server's time zones are this process's; looked up once, for it takes some 50 ms."""
    named = frozenset(rule.converter.zone for rule in table.rules if rule.converter and rule.converter.zone)
    asked = (connection.info.host, connection.info.port, named)
    if asked not in _clocks:
        _clocks[asked] = disagreement(connection, table) is None
    return _clocks[asked]


def _group(table: TableMapping, side: Side, known: Canonical, shapes: Mapping[Side, Shape]) -> sql.Composable:
    keys: Mapping[Side, tuple[str, ...]] = {"legacy": table.forward.source_key, "service": table.forward.key}
    kinds = {shapes[s].oids[shapes[s].columns.index(keys[s][0])] for s in keys}
    if kinds <= INTEGERS:
        return sql.SQL("({}::bigint / {})").format(sql.Identifier("t", keys[side][0]), sql.Literal(GROUP_KEYS))
    value: sql.Composable = sql.SQL("0")
    for name in keys["legacy" if table.direction == "both" else "service"]:
        value = sql.SQL("hashtextextended({}, {})").format(known.expressions[known.columns.index(name)], value)
    return sql.SQL("({} & {})").format(value, sql.Literal(HASH_GROUPS - 1))
