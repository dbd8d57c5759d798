"""Rows whose parent is missing at the target: the applier passes foreign keys by, so this looks after them.

Each transaction of the source arrives whole, so a target whose source keeps the same keys never has an orphan, but for
parents that come by another stream, are parked, or were deleted by somebody at the target. Only what is there at two
looks counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import sql

from cdc.errors import Transient, first_line
from cdc.status import Status

# Seconds between the two looks, between two checks at least, and for one look at most; a check takes at most a
# fiftieth of the time.
AGAIN_AFTER = 2.0
EVERY = 60.0
AT_MOST = 30.0
SHARE = 50
# Orphans of one constraint that are told apart; more are as bad.
MOST = 1000

_KEYS = """
SELECT conname, conrelid::regclass::text, confrelid::regclass::text, a.child, a.parent
FROM pg_constraint CROSS JOIN LATERAL (
    SELECT array_agg(c.attname::text ORDER BY n), array_agg(p.attname::text ORDER BY n)
    FROM unnest(conkey, confkey) WITH ORDINALITY AS k(child, parent, n)
    JOIN pg_attribute c ON c.attrelid = conrelid AND c.attnum = k.child
    JOIN pg_attribute p ON p.attrelid = confrelid AND p.attnum = k.parent) AS a(child, parent)
WHERE contype = 'f' AND conparentid = 0 AND has_table_privilege(confrelid, 'SELECT')
  AND conrelid = ANY(SELECT to_regclass(t)::oid FROM unnest(%s::text[]) t)
ORDER BY 2, 1
"""

log = structlog.get_logger("cdc.orphans")


@dataclass(frozen=True, slots=True)
class Orphans:
    """Of one foreign key: how many rows (up to MOST), and the values that have no parent, as text."""

    constraint: str
    table: str
    parent: str
    columns: tuple[str, ...]
    rows: int
    values: tuple[tuple[str, ...], ...]


def find(dsn: str, tables: Collection[str], again_after: float = AGAIN_AFTER) -> list[Orphans]:
    """Of the foreign keys that these tables (`schema.table`) have. Raises: Transient."""
    names = [sql.Identifier(*table.split(".", 1)).as_string(None) for table in tables]
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="banyan-cdc orphans") as target:
            target.execute(f"SET statement_timeout = '{AT_MOST:.0f}s'".encode())
            keys = target.execute(_KEYS, [names]).fetchall()
            first = [_look(target, *key) for key in keys]
            if not any(found.rows for found in first):
                return []
            time.sleep(again_after)  # for no condition: what is still there after so long is no parent on its way
            second = [_look(target, *key) for key, found in zip(keys, first, strict=True) if found.rows]
    except psycopg.Error as e:
        raise Transient(f"orphans cannot be looked for: {first_line(e)}") from e
    before = {found.constraint: set(found.values) for found in first}
    stayed: list[Orphans] = []
    for found in second:
        values = tuple(value for value in found.values if value in before[found.constraint])
        if values:
            stayed.append(Orphans(found.constraint, found.table, found.parent, found.columns, len(values), values[:10]))
    return stayed


def _look(
    target: psycopg.Connection[Any], constraint: str, table: str, parent: str, child: list[str], columns: list[str]
) -> Orphans:
    """A key with a NULL in it has no parent to miss (MATCH SIMPLE)."""
    values = sql.SQL(", ").join(sql.SQL("c.{}::text").format(sql.Identifier(name)) for name in child)
    known = sql.SQL(" AND ").join(sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(name)) for name in child)
    same = sql.SQL(" AND ").join(
        sql.SQL("p.{} = c.{}").format(sql.Identifier(p), sql.Identifier(c)) for c, p in zip(child, columns, strict=True)
    )
    query = sql.SQL(
        "SELECT DISTINCT {values} FROM {table} c WHERE {known} AND NOT EXISTS (SELECT FROM {parent} p WHERE {same})"
        " LIMIT {most}"
    ).format(
        values=values, table=sql.SQL(table), known=known, parent=sql.SQL(parent), same=same, most=sql.Literal(MOST)
    )  # the names come quoted from regclass
    rows = target.execute(query).fetchall()
    return Orphans(constraint, table, parent, tuple(child), len(rows), tuple(rows))


class Watch(threading.Thread):
    """Looks now and then, and tells the status. Cannot stop the stream."""

    def __init__(self, dsn: str, tables: Collection[str], status: Status, stop: threading.Event) -> None:
        super().__init__(name=f"orphans-{status.stream}", daemon=True)
        self._dsn, self._tables, self._status, self._halt = dsn, tables, status, stop

    def run(self) -> None:
        pause = EVERY
        while not self._halt.wait(pause):
            began = time.monotonic()
            try:
                found = find(self._dsn, self._tables)
            except Transient as e:
                log.warning("orphans not looked for", stream=self._status.stream, error=str(e))
            else:
                count = sum(one.rows for one in found)
                if count > (self._status.orphans or 0):
                    for one in found:
                        log.warning(
                            "rows without their parent", table=one.table, parent=one.parent, first=one.values[0]
                        )
                self._status.orphans = count
            pause = max(EVERY, (time.monotonic() - began - AGAIN_AFTER) * SHARE)
