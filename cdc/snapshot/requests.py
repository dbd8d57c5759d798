"""banyan.snapshot, typed: what was asked for, how far it is, and ending it. One request is one table of one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cdc.errors import ConfigError, NotPrepared

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Step = Literal["strangers", "rows", "blocks", "again"]
Key = tuple[str, ...]
"""A key of the source as PostgreSQL prints its columns."""

OPEN = ("waiting", "running")
#: What a request does while no rows are counted, for a person.
STEPS = {"strangers": "looks for rows that the source lacks", "again": "reads keys again that were on the move"}


@dataclass(frozen=True, slots=True)
class Scope:
    """All rows, those from one key to another (both included), or these keys."""

    first: Key | None = None
    last: Key | None = None
    keys: tuple[Key, ...] | None = None

    @property
    def whole(self) -> bool:
        return self.first is None and self.last is None and self.keys is None

    def document(self) -> dict[str, Any]:
        found = {"from": self.first, "to": self.last, "keys": self.keys}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Scope:
        keys = document.get("keys")
        first, last = (tuple(document[name]) if name in document else None for name in ("from", "to"))
        return cls(first, last, tuple(map(tuple, keys)) if keys is not None else None)


WHOLE = Scope()


@dataclass(frozen=True, slots=True)
class Request:
    """`expected`, `rows`: of the source; `removed`: rows of the target that the source does not have."""

    id: int
    stream: str
    table: str
    scope: dict[str, Any]
    fills: bool
    rows_per_s: int | None
    state: State
    step: Step
    position: list[str] | None
    heap: int | None
    rows: int
    removed: int
    expected: int | None
    rate: float | None
    waits: str | None
    problem: str | None
    asked_at: datetime
    began_at: datetime | None
    ended_at: datetime | None


_COLUMNS = (
    'id, stream, "table", scope, fills, rows_per_s, state, step, position, heap, rows, removed, expected, rate, waits,'
    " problem, asked_at, began_at, ended_at"
)


def install(connection: psycopg.Connection[Any]) -> None:
    """Make the tables in a stream's target where they are missing."""
    connection.execute(files("cdc.snapshot").joinpath("state.sql").read_bytes())


def installed(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('banyan.snapshot') AND attname = 'rate')"
    ).fetchone()
    return row is not None and bool(row[0])


def add(
    connection: psycopg.Connection[Any],
    stream: str,
    table: str,
    scope: Scope = WHOLE,
    *,
    expected: int | None = None,
    rows_per_s: int | None = None,
) -> int:
    """Ask the stream's running process to read these rows again. Nothing is checked here: see `cdc.snapshot.ask`."""
    with _explained(stream):
        row = connection.execute(
            'INSERT INTO banyan.snapshot (stream, "table", scope, expected, rows_per_s) VALUES (%s, %s, %s, %s, %s)'
            " RETURNING id",
            [stream, table, Jsonb(scope.document()), expected, rows_per_s],
        ).fetchone()
    assert row is not None
    return int(row[0])


def add_fill(
    connection: psycopg.Connection[Any], stream: str, table: str, step: Step, expected: int, heap: int | None = None
) -> int:
    """A table without which the stream does not count as filled."""
    row = connection.execute(
        'INSERT INTO banyan.snapshot (stream, "table", fills, state, step, expected, heap, began_at)'
        " VALUES (%s, %s, true, 'running', %s, %s, %s, clock_timestamp()) RETURNING id",
        [stream, table, step, expected, heap],
    ).fetchone()
    assert row is not None
    return int(row[0])


def following(connection: psycopg.Connection[Any], stream: str) -> Request | None:
    """The one to work on: what fills goes first, then the oldest."""
    query = (
        f"SELECT {_COLUMNS} FROM banyan.snapshot WHERE stream = %s AND state IN ('waiting', 'running')"  # noqa: S608  constants
        " ORDER BY fills DESC, id LIMIT 1"
    )
    return next(iter(_fetch(connection, query, [stream])), None)


def none_open(connection: psycopg.Connection[Any], stream: str) -> bool:
    return not installed(connection) or following(connection, stream) is None


def found(connection: psycopg.Connection[Any], stream: str, ids: Sequence[int] | None = None) -> list[Request]:
    """These requests, or those that are open and the newest ones that ended. Raises: NotPrepared."""
    where = (
        "id = ANY(%s)" if ids is not None else "(state IN ('waiting', 'running') OR ended_at > now() - %s::interval)"
    )
    query = f"SELECT {_COLUMNS} FROM banyan.snapshot WHERE stream = %s AND {where} ORDER BY id"  # noqa: S608  constants
    return _fetch(connection, query, [stream, list(ids) if ids is not None else "1 day"])


def unfilled(connection: psycopg.Connection[Any], stream: str) -> bool:
    """Whether something that the stream needs to count as filled is not done."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM banyan.snapshot WHERE stream = %s AND fills AND state <> 'done')", [stream]
    ).fetchone()
    return row is not None and bool(row[0])


def summary(request: Request) -> str:
    """One line for a person."""
    removed = f", {request.removed:,} removed that the source does not have" if request.removed else ""
    if request.state in OPEN:
        return f"{request.table}: {request.state}, {request.rows:,} rows so far{removed}"
    spent = (request.ended_at - request.began_at).total_seconds() if request.ended_at and request.began_at else 0.0
    rate = f" in {spent:.1f} s ({request.rows / spent:,.0f} rows/s)" if spent > 0 else ""
    problem = f": {request.problem}" if request.problem else ""
    return f"{request.table}: {request.state}, {request.rows:,} rows{rate}{removed}{problem}"


def cancel(connection: psycopg.Connection[Any], stream: str, ids: Sequence[int] | None = None) -> int:
    """End what is open; what was repaired stays so. Raises: ConfigError for what a fill needs, NotPrepared."""
    with _explained(stream):
        for request in found(connection, stream, ids):
            if request.fills and request.state in OPEN:
                raise ConfigError(
                    f"{request.table} is part of the fill of {stream}, without which the stream is not complete:"
                    " stop the stream to pause it"
                )
        return connection.execute(
            "UPDATE banyan.snapshot SET state = 'cancelled', ended_at = clock_timestamp()"
            " WHERE stream = %s AND state IN ('waiting', 'running') AND (%s::bigint[] IS NULL OR id = ANY(%s))",
            [stream, ids and list(ids), ids and list(ids)],
        ).rowcount


def again(connection: psycopg.Connection[Any], request: int, keys: Sequence[Key]) -> None:
    """Keys to be read once more at the request's end."""
    connection.cursor().executemany(
        "INSERT INTO banyan.snapshot_again (snapshot, key) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [(request, Jsonb(key)) for key in keys],
    )


def clear(connection: psycopg.Connection[Any], stream: str) -> None:
    """Forget all of a stream's requests: it is filled from the start, or dropped."""
    for table in ("snapshot_blocks", "snapshot_again"):
        query = "DELETE FROM {} WHERE snapshot IN (SELECT id FROM banyan.snapshot WHERE stream = %s)"
        connection.execute(sql.SQL(query).format(sql.Identifier("banyan", table)), [stream])
    connection.execute("DELETE FROM banyan.snapshot WHERE stream = %s", [stream])


def _fetch(connection: psycopg.Connection[Any], query: str, parameters: list[Any]) -> list[Request]:
    with _explained(str(parameters[0])), connection.cursor(row_factory=class_row(Request)) as cursor:
        return cursor.execute(query, parameters).fetchall()


@contextmanager
def _explained(stream: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName) as e:
        raise NotPrepared(f"the target of {stream} cannot keep snapshots yet: run prepare again") from e
