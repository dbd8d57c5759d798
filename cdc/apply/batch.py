"""A batch of captured changes as a script: per table what it amounts to, in the cheapest statements for its size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from cdc.apply import statements
from cdc.apply.columns import Shape, Shapes, Unfit, dumper
from cdc.apply.net import Net, NotNet, by_known, key_of
from cdc.apply.parked import Key, canonical
from cdc.apply.route import Route, Routes
from cdc.apply.script import Script
from cdc.apply.texts import Column, array, copy_text, rows_text
from cdc.capture.raw import Described, Raw, Values
from cdc.change import Change

# Measured with seven columns, CPU of both ends: 30 rows take 0.41 ms as VALUES, 0.47 as UNNEST of arrays and 0.89 by
# COPY into a temporary table and a merge; 100 rows 1.4, 1.4 and 1.5; 200 rows 2.4, 1.8 and 2.1; 500 rows 5.3, 4.5, 3.6.
UNNEST_ROWS = 50
COPY_ROWS = 300
# New rows from which COPY straight into the table is the cheapest (always, but for the round trip): 30 rows 0.26 ms.
STRAIGHT_ROWS = 10
# Batches for which a table that refused new rows (they were there already) has them merged.
WARY = 100


@dataclass(slots=True)
class Lane:
    """One route: how its rows are read, and the statements that were made for it so far."""

    route: Route
    shapes: Shapes
    casts: dict[str, str]
    number: int
    alone: bool  # it shares its rows with no other table
    wary: int = 0  # batches until new rows are copied straight again
    made: dict[tuple[str, tuple[str, ...]], tuple[str, statements.Bulk]] = field(default_factory=dict)
    upserts: dict[tuple[tuple[str, ...], bool], bytes] = field(default_factory=dict)

    def upsert(self, connection: psycopg.Connection[Any], names: tuple[str, ...], unnest: bool = False) -> bytes:
        """With one `%s` for the rows, or one for each column as an array."""
        if (names, unnest) not in self.upserts:
            if unnest:
                made = statements.upsert_unnest(self.route, names, self.casts)
            else:
                made = statements.upsert_values(self.route, names)
            self.upserts[names, unnest] = made.as_bytes(connection)
        return self.upserts[names, unnest]


class Batches:
    """Bound to one applier session."""

    def __init__(self, connection: psycopg.Connection[Any], routes: Routes) -> None:
        self._connection = connection
        self.tolerates: frozenset[str] = frozenset()  # source tables whose partial updates may meet no row
        targets = [route.target for route in routes.by_source.values()]
        dump = dumper(connection)
        self._lanes: dict[str, Lane] = {}
        for number, (source, route) in enumerate(routes.by_source.items()):
            types = statements.column_types(connection, route)
            internal = {name: internal for name, (internal, _) in types.items()}
            casts = {name: cast for name, (_, cast) in types.items()}
            shapes = Shapes(route, internal, statements.adapters(connection, route), dump)
            alone = targets.count(route.target) == 1 and routes.ordinary(source)
            self._lanes[source] = Lane(route, shapes, casts, number, alone)
        self._used: set[str] = set()

    def begin(self) -> None:
        """A new target transaction: temporary tables are empty."""
        self._used.clear()

    def write(self, script: Script, changes: Sequence[Raw | Change], parked: Collection[Key] = ()) -> list[Lane]:
        """Adds what the changes amount to; returns the lanes whose new rows are copied straight into their table.

        Raises: NotNet (their order matters, or they touch a parked key), Unfit (they cannot go by columns).
        """
        straight: list[Lane] = []
        waiting = {table for table, _ in parked}
        for table, rows in _by_table(changes):
            lane = self._lanes.get(table.relation.name)
            if lane is None:
                continue
            if not lane.alone:
                raise Unfit(f"{lane.route.source} shares rows with other tables")
            positions = lane.shapes.key(table)
            if lane.route.source in waiting and _touches(lane.route.source, table, positions, rows, parked):
                raise NotNet(f"{lane.route.source}: changes of a parked key")
            net = Net(key_of(positions))
            net.add_all(rows)
            self._table(script, lane, table, net, straight)
        return straight

    def _table(self, script: Script, lane: Lane, table: Described, net: Net, straight: list[Lane]) -> None:
        if net.gone:
            self._delete(script, lane, table, list(net.gone.values()))
        for known, rows in by_known(list(net.part.values())).items() if net.part else ():
            self._patch(script, lane, lane.shapes.of(table, known), rows)
        shape = lane.shapes.of(table)
        new, whole = list(net.new.values()), list(net.whole.values())
        if len(new) >= STRAIGHT_ROWS and lane.wary <= 0:
            self._upsert(script, lane, shape, whole)
            straight.append(lane)
            statement = statements.copy(statements.table_name(lane.route.target), shape.targets)
            script.copy(statement.as_bytes(self._connection), copy_text(shape.columns(new), len(new)))
        else:
            lane.wary -= 1
            self._upsert(script, lane, shape, whole + new)

    def _upsert(self, script: Script, lane: Lane, shape: Shape, rows: list[Values]) -> None:
        if not rows:
            return
        columns = shape.columns(rows)
        if len(rows) >= COPY_ROWS:
            self._through_temporary(script, lane, "upsert", shape.targets, columns, len(rows))
        elif len(rows) >= UNNEST_ROWS:
            script.add(lane.upsert(self._connection, shape.targets, unnest=True) % tuple(map(array, columns)))
        else:
            script.add(lane.upsert(self._connection, shape.targets) % rows_text(columns))

    def _delete(self, script: Script, lane: Lane, table: Described, rows: list[Values]) -> None:
        shape = lane.shapes.of(table, lane.shapes.key(table))
        if not set(lane.route.key) <= set(shape.targets):
            raise Unfit(f"{lane.route.source}: its key alone does not give the target's")
        found = dict(zip(shape.targets, shape.columns(rows), strict=True))
        columns = [found[name] for name in lane.route.key]
        if len(rows) < COPY_ROWS:
            head = statements.delete_keys(lane.route).as_bytes(self._connection)
            script.add(head % rows_text(columns))
        else:
            self._through_temporary(script, lane, "delete", lane.route.key, columns, len(rows))

    def _patch(self, script: Script, lane: Lane, shape: Shape, rows: list[Values]) -> None:
        if not set(lane.route.key) <= set(shape.targets):
            raise Unfit(f"{lane.route.source}: a partial row without its key")
        if set(lane.route.key) == set(shape.targets):
            return
        self._through_temporary(script, lane, "patch", shape.targets, shape.columns(rows), len(rows))

    def _through_temporary(
        self, script: Script, lane: Lane, kind: str, names: tuple[str, ...], columns: list[Column], rows: int
    ) -> None:
        key = kind, names
        if key not in lane.made:
            name = f"banyan_net_{lane.number}_{len(lane.made)}"
            lane.made[key] = name, statements.bulk(kind, lane.route, names, name)
        name, bulk = lane.made[key]
        script.add(bulk.create.as_bytes(self._connection))
        if name in self._used:
            script.add(bulk.empty.as_bytes(self._connection))
        self._used.add(name)
        script.copy(bulk.copy.as_bytes(self._connection), copy_text(columns, rows))
        counts = kind == "patch" and lane.route.source not in self.tolerates
        merge = statements.met(bulk.merge, rows) if counts else bulk.merge
        script.add(merge.as_bytes(self._connection))


def _by_table(changes: Sequence[Raw | Change]) -> list[tuple[Described, list[Raw]]]:
    """Each table's rows in order; tables are independent of each other (apply.runs says why). Raises: Unfit, NotNet."""
    found: dict[int, tuple[Described, list[Raw]]] = {}
    table: Described | None = None
    rows: list[Raw] = []
    for change in changes:
        if not isinstance(change, Raw):
            if change.op != "m":
                raise Unfit("a change that is not raw")
            continue
        if change.table is not table:
            table = change.table
            rows = found.setdefault(id(table), (table, []))[1]
        rows.append(change)
    tables = [table.relation.name for table, _ in found.values()]
    if len(set(tables)) < len(tables):
        raise NotNet("a table was described anew")
    return list(found.values())


def _touches(
    source: str, table: Described, positions: Sequence[int], rows: Sequence[Raw], parked: Collection[Key]
) -> bool:
    """Whether a row's key, or the one that it had, is parked."""
    for raw in rows:
        for values in (raw.new, raw.old):
            if values is not None:
                key = tuple(None if values[n] is None else table.loaders[n](values[n]) for n in positions)
                if canonical(source, key) in parked:
                    return True
    return False
