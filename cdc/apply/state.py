"""The stream's row in the target: where it stands, and how a position is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

import psycopg

from cdc.change import lsn_number, lsn_text

Phase = Literal["prepared", "snapshot", "streaming"]

# The origin's position and time become part of the commit record: one statement, one round trip. What was written
# keeps its tables locked, so a change of one of them is either seen here, or comes after the commit.
ADVANCE = """
UPDATE banyan.stream
SET source_lsn = %(lsn)s::pg_lsn, source_commit_at = %(at)s, applied_at = clock_timestamp(), rows = rows + %(rows)s
WHERE stream = %(stream)s
RETURNING pg_replication_origin_xact_setup(%(lsn)s::pg_lsn, %(at)s), applied_at,
    CASE WHEN EXISTS (SELECT FROM banyan.ddl d WHERE d.stream = %(stream)s AND d.settled_at IS NULL)
         THEN banyan.refuse_shape(%(stream)s) END
"""


@dataclass(frozen=True, slots=True)
class StreamState:
    phase: Phase
    source_system: str | None
    lsn: int | None
    commit_at: datetime | None
    applied_at: datetime | None
    rows: int
    snapshot_rows: int
    source_timeline: int | None = None


def install_state(connection: psycopg.Connection[Any]) -> None:
    """Make what is missing of banyan.stream, fence_applied, parked, Kafka's tables and what schemas are judged by."""
    connection.execute(files("cdc.apply").joinpath("state.sql").read_bytes())
    connection.execute(files("cdc.kafka").joinpath("state.sql").read_bytes())
    connection.execute(files("cdc.schema").joinpath("schema.sql").read_bytes())


def read_state(connection: psycopg.Connection[Any], stream: str, lock: bool = False) -> StreamState | None:
    """None when the stream was not prepared here. `lock` keeps appliers and replays apart until the commit."""
    query = (
        "SELECT state, source_system, source_lsn, source_commit_at, applied_at, rows, snapshot_rows, source_timeline"
        " FROM banyan.stream WHERE stream = %s"
    )
    try:
        row = connection.execute(query + " FOR UPDATE" if lock else query, [stream]).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    if row is None:
        return None
    phase, system, lsn, commit_at, applied_at, rows, snapshot_rows, timeline = row
    position = lsn_number(lsn) if lsn else None
    return StreamState(phase, system, position, commit_at, applied_at, rows, snapshot_rows, timeline)


def position_parameters(stream: str, lsn: int, at: datetime, rows: int) -> dict[str, Any]:
    return {"stream": stream, "lsn": lsn_text(lsn), "at": at, "rows": rows}
