"""The stream's row in the target: where it stands, and how a position is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal

import psycopg

from cdc.change import lsn_number, lsn_text

Phase = Literal["prepared", "snapshot", "streaming"]

# The origin's position and time become part of the commit record: one statement, one round trip.
ADVANCE = """
UPDATE banyan.stream
SET source_lsn = %(lsn)s::pg_lsn, source_commit_at = %(at)s, applied_at = clock_timestamp(), rows = rows + %(rows)s
WHERE stream = %(stream)s
RETURNING pg_replication_origin_xact_setup(%(lsn)s::pg_lsn, %(at)s), applied_at
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


def install_state(connection: psycopg.Connection[Any]) -> None:
    """Make banyan.stream, banyan.fence_applied and banyan.parked where they are missing."""
    connection.execute(files("cdc.apply").joinpath("state.sql").read_bytes())


def read_state(connection: psycopg.Connection[Any], stream: str, lock: bool = False) -> StreamState | None:
    """None when the stream was not prepared here. `lock` keeps appliers and replays apart until the commit."""
    query = (
        "SELECT state, source_system, source_lsn, source_commit_at, applied_at, rows, snapshot_rows"
        " FROM banyan.stream WHERE stream = %s"
    )
    try:
        row = connection.execute(query + " FOR UPDATE" if lock else query, [stream]).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    if row is None:
        return None
    phase, system, lsn, commit_at, applied_at, rows, snapshot_rows = row
    return StreamState(phase, system, lsn_number(lsn) if lsn else None, commit_at, applied_at, rows, snapshot_rows)


def position_parameters(stream: str, lsn: int, at: datetime, rows: int) -> dict[str, Any]:
    return {"stream": stream, "lsn": lsn_text(lsn), "at": at, "rows": rows}
