"""Writes runs in the statements that are the cheapest for their size; fails as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from cdc.apply import statements
from cdc.apply.route import Route, Routes
from cdc.apply.runs import Run
from cdc.apply.sets import Sets
from cdc.change import Row
from cdc.errors import RowMissing

# Runs from this size on go through COPY and a temporary table; measured: below it single statements in a pipeline
# are faster.
BULK_ROWS = 300


class RunWriter:
    """Bound to one applier session; works inside the caller's transaction. `filled`: temporary tables that hold rows of
    it; who rolls a part back puts back what it was.
    """

    def __init__(self, connection: psycopg.Connection[Any], routes: Routes) -> None:
        self._connection = connection
        self.filled: frozenset[str] = frozenset()
        self.tolerates: frozenset[str] = frozenset()  # source tables whose partial updates may meet no row
        self._queries: dict[tuple[str, str, tuple[str, ...]], bytes] = {}
        self._bulk: dict[tuple[str, str, tuple[str, ...]], tuple[statements.Bulk, str]] = {}
        self._adapters = {(r.source, r.target): statements.adapters(connection, r) for r in routes.every()}
        self._sets = Sets(connection, routes, self._adapters)

    def begin(self) -> None:
        """A new target transaction."""
        self.filled = frozenset()

    def write(self, runs: Sequence[Run]) -> None:
        """The fast way, which fails as a whole."""
        for run in runs:
            if len(run) >= BULK_ROWS and run.kind in ("upsert", "delete", "patch", "blank"):
                self._through_temporary(run)
            else:
                self.send(run)

    def send(self, run: Run) -> None:
        """Single statements; safe in a pipeline unless rows must be counted (patch, move)."""
        adapt = self._adapters[run.route.source, run.route.target]
        cursor = self._connection.cursor()
        if len(run.rows) > 1 and (statement := self._sets.statement(run)) is not None:
            cursor.execute(statement)
            return
        if run.kind == "clear":
            cursor.execute(self._query(run))
            return
        if run.kind == "move":
            rows = [
                {**_adapted(op.row, adapt), **{f"old {n}": value for n, value in enumerate(op.old_key)}}
                for op in run.moves
            ]
        elif run.kind in ("delete", "blank"):
            rows = [dict(zip(run.route.key, key, strict=True)) for key in run.rows]
        else:
            rows = [_adapted(row, adapt) for row in run.rows.values()] if adapt else list(run.rows.values())
        if len(rows) == 1:
            cursor.execute(self._query(run), rows[0])
        else:
            cursor.executemany(self._query(run), rows)
        if run.kind in ("patch", "move") and cursor.rowcount != len(rows) and not self._tolerated(run.route):
            raise RowMissing(f"{run.route.target}: the row to be updated in part is missing")

    def _tolerated(self, route: Route) -> bool:
        """A part must meet its wide row."""
        return route.makes and route.source in self.tolerates

    def _through_temporary(self, run: Run) -> None:
        keys_only = run.kind in ("delete", "blank")
        columns = run.route.key if keys_only else run.columns
        bulk, name = self._bulk_of(run.kind, run.route, columns)
        connection = self._connection
        connection.execute(bulk.create)
        if name in self.filled:
            connection.execute(bulk.empty)
        self.filled |= {name}
        adapt = self._adapters[run.route.source, run.route.target]
        cursor = connection.cursor()
        with cursor.copy(bulk.copy) as copy:
            if keys_only:
                for key in run.rows:
                    copy.write_row(key)
            else:
                for row in run.rows.values():
                    values = _adapted(row, adapt) if adapt else row
                    copy.write_row([values[c] for c in columns])
        merged = cursor.execute(bulk.merge).rowcount
        if run.kind == "patch" and merged != len(run.rows) and not self._tolerated(run.route):
            raise RowMissing(f"{run.route.target}: a row to be updated in part is missing")

    def _bulk_of(self, kind: str, route: Route, columns: tuple[str, ...]) -> tuple[statements.Bulk, str]:
        key = (kind, route.target, columns)
        if key not in self._bulk:
            name = f"banyan_bulk_{len(self._bulk)}"
            self._bulk[key] = statements.bulk(kind, route, columns, name), name
        return self._bulk[key]

    def _query(self, run: Run) -> bytes:
        key = (run.kind, run.route.target, run.columns)
        if key not in self._queries:
            match run.kind:
                case "upsert":
                    query = statements.upsert(run.route, run.columns)
                case "delete":
                    query = statements.delete(run.route)
                case "patch":
                    query = statements.patch(run.route, run.columns)
                case "move":
                    query = statements.move(run.route, run.columns)
                case "blank":
                    query = statements.blank(run.route)
                case "clear":
                    query = statements.clear(run.route)
            self._queries[key] = query.as_bytes(self._connection)
        return self._queries[key]


def _adapted(row: Row, adapt: dict[str, statements.Adapter]) -> Row:
    return {name: adapt[name](value) if name in adapt else value for name, value in row.items()} if adapt else row


def pipelines(run: Run) -> bool:
    """A pipeline cannot COPY, and cannot see how many rows a partial update met."""
    return len(run) < BULK_ROWS and run.kind not in ("patch", "move")
