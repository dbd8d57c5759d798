"""The rows of a run as one statement, in the cheapest form for their number; for runs too small for COPY."""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.apply import statements
from cdc.apply.columns import dump_of, dumper
from cdc.apply.route import Route, Routes
from cdc.apply.runs import Run
from cdc.apply.statements import Adapter
from cdc.apply.texts import Column, array, rows_text

# From so many on arrays are cheaper than VALUES: batch.py has the measure. Single statements, a round trip for all of
# them, cost four times as much.
UNNEST_ROWS = 50


class Sets:
    """Bound to one applier session."""

    def __init__(
        self, connection: psycopg.Connection[Any], routes: Routes, adapters: dict[tuple[str, str], dict[str, Adapter]]
    ) -> None:
        """`adapters`: by source and target."""
        self._connection = connection
        general = dumper(connection)
        self._dumps = {
            (r.source, r.target): {
                name: dump_of(adapters[r.source, r.target].get(name), general) for name in {*r.columns, *r.key}
            }
            for r in routes.every()
        }
        self._casts = {
            r.target: {name: cast for name, (_, cast) in statements.column_types(connection, r).items()}
            for r in routes.every()
        }
        self._heads: dict[tuple[str, str, str, bool], bytes] = {}

    def statement(self, run: Run) -> bytes | None:
        """None for a run that needs more: whose rows must be counted, or fill parts of others. Values with a NUL, which
        would end the statement, are left to psycopg, which refuses them.
        """
        made = self._made(run)
        return None if made is None or b"\0" in made else made

    def _made(self, run: Run) -> bytes | None:
        if run.kind == "delete":
            columns = self._columns(run, run.route.key, list(run.rows))
            return self._head(run, False) % rows_text(columns)
        if run.kind != "upsert" or run.route.fills:
            return None
        names = run.columns
        columns = self._columns(run, names, [[row[name] for name in names] for row in run.rows.values()])
        if len(run) < UNNEST_ROWS:
            return self._head(run, False) % rows_text(columns)
        return self._head(run, True) % tuple(map(array, columns))

    def _columns(self, run: Run, names: tuple[str, ...], rows: list[Any]) -> list[Column]:
        dumps = self._dumps[run.route.source, run.route.target]
        return [
            [None if value is None else dump(value) for value in column]
            for dump, column in zip(map(dumps.__getitem__, names), zip(*rows, strict=True), strict=True)
        ]

    def _head(self, run: Run, unnest: bool) -> bytes:
        route = run.route
        key = run.kind, route.source, route.target, unnest
        if key not in self._heads:
            self._heads[key] = self._query(run, route, unnest).as_bytes(self._connection)
        return self._heads[key]

    def _query(self, run: Run, route: Route, unnest: bool) -> Any:
        if run.kind == "delete":
            return statements.delete_keys(route)
        if unnest:
            return statements.upsert_unnest(route, run.columns, self._casts[route.target])
        return statements.upsert_values(route, run.columns)
