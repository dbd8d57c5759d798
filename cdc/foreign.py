"""What people do with the alarms of foreign writers (cdc.apply.foreign raises them): list and settle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from cdc.errors import NotPrepared, Transient, first_line

LIST = """
SELECT stream, "table", xid, lsn::text, commit_at, role, keys, rows, seen_at
  FROM banyan.foreign_write WHERE stream = %s AND settled_at IS NULL ORDER BY seen_at LIMIT %s
"""
SETTLE = """
UPDATE banyan.foreign_write SET settled_at = clock_timestamp(), settled_by = %s
 WHERE stream = %s AND settled_at IS NULL
"""


def unsettled(connection: psycopg.Connection[Any], stream: str, limit: int = 1000) -> list[dict[str, Any]]:
    """Oldest first; none where `prepare` was of an older version."""
    row = connection.execute("SELECT to_regclass('banyan.foreign_write') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return []
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(LIST, [stream, limit]).fetchall()


def foreign_writes(dsns: Sequence[str], stream: str) -> list[dict[str, Any]]:
    """At both ends: the target has what was captured, the source what its guard saw. Raises: Transient."""
    found: list[dict[str, Any]] = []
    for dsn in dsns:
        with _connected(dsn, stream) as connection:
            found += unsettled(connection, stream)
    return found


def settle_foreign_writes(dsns: Sequence[str], stream: str, by: str) -> int:
    """How many. Raises: Transient, NotPrepared."""
    count = 0
    for dsn in dsns:
        with _connected(dsn, stream) as connection:
            count += connection.execute(SETTLE, [by, stream]).rowcount
    return count


@contextmanager
def _connected(dsn: str, stream: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as e:
        raise NotPrepared(f"stream {stream} is not prepared in both databases: run prepare") from e
    except psycopg.OperationalError as e:
        raise Transient(f"the foreign commits of {stream} are out of reach: {first_line(e)}") from e
