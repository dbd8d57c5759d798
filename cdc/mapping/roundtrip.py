"""The law over every real row of a side: read only, in short transactions of one batch each, so that nobody waits.

Rows are seen as the streams see them: what Python cannot hold (infinity, year 10000) is PostgreSQL's text of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from cdc.capture.types import SESSION_OPTIONS, load_date, load_json, load_time, load_timestamp, load_timestamptz
from cdc.mapping import law, reader
from cdc.mapping.law import Violation
from cdc.mapping.lint import carried
from cdc.mapping.plan import Side
from cdc.mapping.reader import Shape
from cdc.mapping.table import DomainMapping, TableMapping

BATCH_ROWS = 5_000
ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"


@dataclass(slots=True)
class Pace:
    """At most `rows_per_s`, as a mean over batches. None: as fast as it goes."""

    rows_per_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def after(self, rows: int, began: float) -> None:
        if self.rows_per_s:
            self.sleep(max(0.0, rows / self.rows_per_s - (self.clock() - began)))


@dataclass(slots=True)
class Checked:
    """One table of one side. `violated`: rows that break the law; `limited`: others, that change in a way which their
    converter declares; `lost`: column that the other side does not get → rows that have a value in it."""

    table: str
    side: Side
    to: str
    estimate: int
    rows: int = 0
    violated: int = 0
    limited: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    samples: list[Violation] = field(default_factory=list)
    complete: bool = False

    @property
    def holds(self) -> bool:
        return self.violated == 0


def connect(dsn: str) -> psycopg.Connection[Any]:
    """A session that can only read, with values as the capture loads them."""
    connection: psycopg.Connection[Any] = psycopg.connect(
        dsn,
        autocommit=True,
        connect_timeout=5,
        application_name="banyan-mapping-check",
        options=f"{SESSION_OPTIONS} -c default_transaction_read_only=on",
    )
    as_captured(connection)
    return connection


def as_captured(connection: psycopg.Connection[Any]) -> None:
    for kind, load in _LOADERS.items():
        connection.adapters.register_loader(kind, load)


def check_side(
    connection: psycopg.Connection[Any],
    mapping: DomainMapping,
    side: Side,
    *,
    only: str | None = None,
    limit: int | None = None,
    samples: int = 20,
    pace: Pace | None = None,
) -> Iterator[Checked]:
    """Yields the state of a table after each batch; the last of a table is `complete`. The same object each time.

    `only`: this table of either side. `limit`: so many rows of each table. Raises: MappingError, psycopg.Error.
    """
    for table in mapping.tables:
        if (side == "service" and table.direction == "forward") or (
            only is not None and only not in (table.legacy, table.service)
        ):
            continue
        yield from _check_table(connection, mapping, table, side, limit, samples, pace or Pace())


def _check_table(
    connection: psycopg.Connection[Any],
    mapping: DomainMapping,
    table: TableMapping,
    side: Side,
    limit: int | None,
    samples: int,
    pace: Pace,
) -> Iterator[Checked]:
    plan, _ = law.plans(table, side)
    read = tuple(dict.fromkeys((*plan.source_key, *plan.source_columns, *_alike(table, side))))
    known = carried(mapping, side, plan.source)
    shape = reader.shape(connection, plan.source, read)
    row = connection.execute(ESTIMATE, [reader.name(plan.source).as_string(connection)]).fetchone()
    checked = Checked(plan.source, side, plan.target, row[0] if row else 0)
    if table.direction == "both" and table.wide != side:  # of a wide row its owner's mapping tells
        checked.lost = dict.fromkeys(sorted(_columns(connection, plan.source) - known), 0)
    for batch in _batches(connection, shape, plan.source_key, list(checked.lost), limit, pace):
        _take(checked, table, side, read, batch, samples)
        yield checked
    checked.complete = True
    yield checked


def _alike(table: TableMapping, side: Side) -> tuple[str, ...]:
    """What is compared when it comes back; a constant of this side is compared, though nothing is made of it."""
    _, back = law.plans(table, side)
    return back.columns if back is not None else ()


def _take(
    checked: Checked,
    table: TableMapping,
    side: Side,
    names: Sequence[str],
    batch: Sequence[tuple[Any, ...]],
    samples: int,
) -> None:
    checked.rows += len(batch)
    turned = list(zip(*batch, strict=True))
    for number, column in enumerate(checked.lost):
        checked.lost[column] += sum(turned[len(names) + number])
    if law.all_survive(table, side, dict(zip(names, turned[: len(names)], strict=True))):
        return
    rows = (dict(zip(names, row[: len(names)], strict=True)) for row in batch)
    broken: dict[tuple[Any, ...], bool] = {}
    for violation in law.check(table, rows, side):
        key = tuple(violation.key.values())
        broken[key] = broken.get(key, False) or not violation.limit
        checked.columns[violation.column] = checked.columns.get(violation.column, 0) + 1
        if len(checked.samples) < samples:
            checked.samples.append(violation)
    checked.violated += sum(broken.values())
    checked.limited += len(broken) - sum(broken.values())


def _batches(
    connection: psycopg.Connection[Any],
    shape: Shape,
    key: Sequence[str],
    uncarried: Sequence[str],
    limit: int | None,
    pace: Pace,
) -> Iterator[list[tuple[Any, ...]]]:
    """By key, each batch after the last key of the one before."""
    names = sql.SQL(", ").join(map(sql.Identifier, key))
    held = [sql.SQL("({} IS NOT NULL)::integer").format(sql.Identifier(column)) for column in uncarried]
    columns = sql.SQL(", ").join([*shape.expressions, *held])
    marks = sql.SQL(", ").join([sql.SQL("%s")] * len(key))
    at = [shape.columns.index(name) for name in key]
    last: list[Any] | None = None
    while limit is None or limit > 0:
        began = pace.clock()
        after = sql.SQL("WHERE ({}) > ({})").format(names, marks) if last is not None else sql.SQL("")
        size = BATCH_ROWS if limit is None else min(limit, BATCH_ROWS)
        query = sql.SQL("SELECT {} FROM {} {} ORDER BY {} LIMIT {}").format(
            columns, reader.name(shape.table), after, names, sql.Literal(size)
        )
        batch = connection.execute(query, last).fetchall()
        if batch:
            yield batch
        if len(batch) < size:
            return
        last = [batch[-1][n] for n in at]
        limit = None if limit is None else limit - len(batch)
        pace.after(len(batch), began)


def _columns(connection: psycopg.Connection[Any], table: str) -> set[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
    rows = connection.execute(query, [reader.name(table).as_string(connection)])
    return {name for (name,) in rows}


def _loader(load: Callable[[bytes], Any]) -> type[Loader]:
    class Captured(Loader):
        def load(self, data: Buffer) -> Any:
            return load(bytes(data))

    return Captured


_LOADERS = {
    "date": _loader(load_date),
    "json": _loader(load_json),
    "jsonb": _loader(load_json),
    "time": _loader(load_time),
    "timestamp": _loader(load_timestamp),
    "timestamptz": _loader(load_timestamptz),
}
