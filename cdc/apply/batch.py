"""A batch of captured changes as a script: per table what it amounts to, in the cheapest statements for its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from cdc.apply import statements
from cdc.apply.columns import Column, Shape, Shapes, Unfit, copy_text, dumper, literal
from cdc.apply.net import Net, NotNet, by_known, key_of
from cdc.apply.route import Route, Routes
from cdc.apply.script import Script
from cdc.capture.raw import Described, Raw, Values
from cdc.change import Change

# Rows from which COPY into a temporary table and one statement is cheaper than the values in the statement's text;
# measured for seven columns (UNNEST of arrays is never the cheapest of the three: its text is longer than VALUES').
COPY_ROWS = 200
# Keys from which a join with a temporary table is cheaper than a list.
JOIN_KEYS = 200
# Batches for which a table that refused new rows (they were there already) has them merged.
WARY = 100


@dataclass(slots=True)
class Lane:
    """One route: how its rows are read, and the statements that were made for it so far."""

    route: Route
    shapes: Shapes
    number: int
    alone: bool  # nobody else writes this target
    wary: int = 0  # batches until new rows are copied straight again
    made: dict[tuple[str, tuple[str, ...]], tuple[str, statements.Bulk]] = field(default_factory=dict)
    upserts: dict[tuple[str, ...], bytes] = field(default_factory=dict)


class Batches:
    """Bound to one applier session."""

    def __init__(self, connection: psycopg.Connection[Any], routes: Routes) -> None:
        self._connection = connection
        targets = [route.target for route in routes.by_source.values()]
        dump = dumper(connection)
        self._lanes = {
            source: Lane(
                route,
                Shapes(
                    route,
                    statements.column_types(connection, route),
                    statements.adapters(connection, route),
                    dump,
                ),
                number,
                targets.count(route.target) == 1,
            )
            for number, (source, route) in enumerate(routes.by_source.items())
        }
        self._nets: dict[int, tuple[Described, Lane | None]] = {}
        self._used: set[str] = set()

    def begin(self) -> None:
        """A new target transaction: temporary tables are empty."""
        self._used.clear()

    def write(self, script: Script, changes: Sequence[Raw | Change]) -> list[Lane]:
        """Adds what the changes amount to; returns the lanes whose new rows are copied straight into their table.

        Raises: NotNet, Unfit (their order matters, or they cannot go by columns), and what a converter refuses.
        """
        nets: dict[int, tuple[Lane, Described, Net]] = {}
        table: Described | None = None
        net: Net | None = None
        run: list[Raw] = []
        for change in changes:
            if type(change) is not Raw:
                if change.op != "m":
                    raise Unfit("a change that is not raw")
                continue
            if change.table is not table:
                if run and net is not None:
                    net.add_inserts(run)
                run = []
                table = change.table
                net = self._net(nets, table)
            if net is None:
                continue
            if change.op == "c":
                run.append(change)
                continue
            if run:
                net.add_inserts(run)
                run = []
            net.add(change.op, change.new, change.old)
        if run and net is not None:
            net.add_inserts(run)
        straight: list[Lane] = []
        for lane, described, found in nets.values():
            self._table(script, lane, described, found, straight)
        return straight

    def _net(self, nets: dict[int, tuple[Lane, Described, Net]], table: Described) -> Net | None:
        """None for a table that is not mapped."""
        if (found := nets.get(id(table))) is not None:
            return found[2]
        lane = self._lanes.get(table.relation.name)
        if lane is None:
            return None
        if not lane.alone:
            raise Unfit(f"{lane.route.target} is written by several tables")
        if any(other is lane for other, _, _ in nets.values()):
            raise NotNet(f"{lane.route.source} was described anew")
        lane.shapes.of(table)
        net = Net(key_of(lane.shapes.key(table)))
        nets[id(table)] = lane, table, net
        return net

    def _table(self, script: Script, lane: Lane, table: Described, net: Net, straight: list[Lane]) -> None:
        if net.gone:
            self._delete(script, lane, table, list(net.gone.values()))
        for known, rows in by_known(list(net.part.values())).items() if net.part else ():
            self._patch(script, lane, lane.shapes.of(table, known), rows)
        shape = lane.shapes.of(table)
        new, whole = list(net.new.values()), list(net.whole.values())
        if len(new) >= COPY_ROWS and lane.wary <= 0:
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
        if len(rows) < COPY_ROWS:
            if shape.targets not in lane.upserts:
                made = statements.upsert_values(lane.route, shape.targets)
                lane.upserts[shape.targets] = made.as_bytes(self._connection)
            script.add(lane.upserts[shape.targets] % _values(columns))
        else:
            self._through_temporary(script, lane, "upsert", shape.targets, columns, len(rows))

    def _delete(self, script: Script, lane: Lane, table: Described, rows: list[Values]) -> None:
        shape = lane.shapes.of(table, lane.shapes.key(table))
        if not set(lane.route.key) <= set(shape.targets):
            raise Unfit(f"{lane.route.source}: its key alone does not give the target's")
        found = dict(zip(shape.targets, shape.columns(rows), strict=True))
        columns = [found[name] for name in lane.route.key]
        if len(rows) < JOIN_KEYS:
            head = statements.delete_keys(lane.route).as_bytes(self._connection)
            script.add(head % _values(columns))
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
        merge = statements.met(bulk.merge, rows) if kind == "patch" else bulk.merge
        script.add(merge.as_bytes(self._connection))


def _values(columns: Sequence[Column]) -> bytes:
    rows = zip(*([literal(value) for value in column] for column in columns), strict=True)
    return b",".join([b"(" + b",".join(row) + b")" for row in rows])
