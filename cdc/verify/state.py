"""What is kept of the comparisons of a domain, in the service's database: counts, the last whole pass, what differs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import psycopg
from psycopg.rows import class_row

from cdc.verify.report import Difference, Report

# Keys that are kept by name.
DRIFT_KEYS = 10_000

BEGIN = """
INSERT INTO banyan.verified AS v (domain, began_at) VALUES (%(domain)s, clock_timestamp())
ON CONFLICT (domain) DO UPDATE SET began_at = clock_timestamp(), at_table = NULL, rows = 0, problem = NULL,
    updated_at = clock_timestamp()
RETURNING began_at
"""
AT = """
UPDATE banyan.verified SET at_table = %s, rows = %s, updated_at = clock_timestamp() WHERE domain = %s
"""
PROBLEM = """
INSERT INTO banyan.verified AS v (domain, problem) VALUES (%(domain)s, %(problem)s)
ON CONFLICT (domain) DO UPDATE SET began_at = NULL, at_table = NULL, problem = excluded.problem,
    updated_at = clock_timestamp()
"""
END = """
INSERT INTO banyan.verified AS v (domain, passes, rows_total, requeued_total, found_total, last_began_at, last_ended_at,
    last_rows, last_drift, last_unsettled, last_clean, last_stalled, last_fills, clean_at)
VALUES (%(domain)s, 1, %(rows)s, %(requeued)s, %(found)s, %(began_at)s, clock_timestamp(), %(rows)s, %(drift)s,
    %(unsettled)s, %(clean)s, %(stalled)s, %(fills)s, CASE WHEN %(clean)s THEN %(began_at)s::timestamptz END)
ON CONFLICT (domain) DO UPDATE SET began_at = NULL, at_table = NULL, problem = NULL, updated_at = clock_timestamp(),
    passes = v.passes + 1, rows_total = v.rows_total + excluded.rows_total,
    requeued_total = v.requeued_total + excluded.requeued_total, found_total = v.found_total + excluded.found_total,
    last_began_at = excluded.last_began_at, last_ended_at = excluded.last_ended_at, last_rows = excluded.last_rows,
    last_drift = excluded.last_drift, last_unsettled = excluded.last_unsettled, last_clean = excluded.last_clean,
    last_stalled = excluded.last_stalled, last_fills = excluded.last_fills,
    clean_at = coalesce(excluded.clean_at, v.clean_at)
"""
READ = """
SELECT domain, began_at, at_table, rows, passes, rows_total, requeued_total, found_total, repaired_total, last_began_at,
       last_ended_at, last_rows, last_drift, last_unsettled, last_clean, last_stalled, last_fills, clean_at, problem,
       clock_timestamp() AS now
  FROM banyan.verified WHERE domain = %s
"""
FILLS = """
SELECT split_part(stream, '.', 2), CASE WHEN state = 'snapshot' THEN 'at work' ELSE filled_lsn::text END
  FROM banyan.stream WHERE split_part(stream, '.', 1) = %s
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of banyan.verified (cdc/apply/state.sql says what each means); `now`: the database's clock."""

    domain: str
    began_at: datetime | None
    at_table: str | None
    rows: int
    passes: int
    rows_total: int
    requeued_total: int
    found_total: int
    repaired_total: int
    last_began_at: datetime | None
    last_ended_at: datetime | None
    last_rows: int | None
    last_drift: int | None
    last_unsettled: int | None
    last_clean: bool | None
    last_stalled: Sequence[str]
    last_fills: dict[str, str]
    clean_at: datetime | None
    problem: str | None
    now: datetime

    @property
    def age_s(self) -> float | None:
        """Since every row was compared by the newest pass: since it began."""
        return (self.now - self.last_began_at).total_seconds() if self.last_began_at else None

    @property
    def clean_age_s(self) -> float | None:
        return (self.now - self.clean_at).total_seconds() if self.clean_at else None


def read(connection: psycopg.Connection[Any], domain: str) -> Kept | None:
    """None before the first comparison, and where `prepare` was of an older version."""
    row = connection.execute("SELECT to_regclass('banyan.verified') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    with connection.cursor(row_factory=class_row(Kept)) as cursor:
        return cursor.execute(READ, [domain]).fetchone()


def fills(legacy: psycopg.Connection[Any], service: psycopg.Connection[Any], domain: str) -> dict[str, str]:
    """Which fill each direction's target rows are of; a pass is of these rows only."""
    found: dict[str, str] = {}
    for connection in (legacy, service):
        row = connection.execute("SELECT to_regclass('banyan.stream') IS NOT NULL").fetchone()
        if row is None or not row[0]:
            continue
        found.update({way: fill for way, fill in connection.execute(FILLS, [domain]).fetchall() if fill is not None})
    return found


def begin(connection: psycopg.Connection[Any], domain: str) -> datetime:
    row = connection.execute(BEGIN, {"domain": domain}).fetchone()
    assert row is not None
    began: datetime = row[0]
    return began


def at(connection: psycopg.Connection[Any], domain: str, table: str, rows: int) -> None:
    """Where the running pass is."""
    connection.execute(AT, [table, rows, domain])


def problem(connection: psycopg.Connection[Any], domain: str, words: str) -> None:
    """Why a pass could not be made."""
    connection.execute(PROBLEM, {"domain": domain, "problem": words})


def end(
    connection: psycopg.Connection[Any], report: Report, began_at: datetime, filled: dict[str, str], whole: bool = True
) -> None:
    """Keep a pass, and which keys differ by it. Of one that left tables out only the keys."""
    tables = [table.table for table in report.tables if table.complete or table.drifted]
    drifted = [found for table in report.tables for found in table.drifted][:DRIFT_KEYS]
    with connection.transaction():
        found = _keep_drift(connection, report.domain, tables, drifted)
        if whole:
            connection.execute(
                END,
                {
                    "domain": report.domain,
                    "rows": report.rows,
                    "requeued": report.rechecked,
                    "found": found,
                    "began_at": began_at,
                    "drift": report.drift,
                    "unsettled": report.unsettled,
                    "clean": report.clean,
                    "stalled": list(report.stalled),
                    "fills": orjson.dumps(filled).decode(),
                },
            )


def repaired(connection: psycopg.Connection[Any], domain: str, count: int) -> None:
    connection.execute(
        "UPDATE banyan.verified SET repaired_total = repaired_total + %s, updated_at = clock_timestamp()"
        " WHERE domain = %s",
        [count, domain],
    )


def _keep_drift(
    connection: psycopg.Connection[Any], domain: str, tables: Collection[str], drifted: Sequence[Difference]
) -> int:
    """How many of them were not known."""
    keys = [(found.table, orjson.dumps(list(found.key.values()), default=str).decode()) for found in drifted]
    connection.execute(
        'DELETE FROM banyan.drift d WHERE domain = %s AND "table" = ANY (%s) AND NOT EXISTS ('
        'SELECT FROM unnest(%s::text[], %s::text[]) k(t, key) WHERE k.t = d."table" AND k.key::jsonb = d.key)',
        [domain, list(tables), [table for table, _ in keys], [key for _, key in keys]],
    )
    cursor = connection.cursor()
    cursor.executemany(
        'INSERT INTO banyan.drift (domain, "table", key, kind, columns, reason) VALUES (%s, %s, %s, %s, %s, %s)'
        " ON CONFLICT DO NOTHING",
        [
            (domain, table, key, found.kind, list(found.columns), found.reason)
            for (table, key), found in zip(keys, drifted, strict=True)
        ],
    )
    return max(0, cursor.rowcount)
