"""Streams as the plan sees them: prepare, drop, where one stands, waiting for a fence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from cdc.apply.state import read_state
from cdc.errors import NotPrepared, Transient, first_line
from cdc.fences import FenceApplied, FenceListener, fence_listener, wait_fence
from cdc.prepare import drop, prepare

__all__ = ["FenceApplied", "FenceListener", "Position", "drop", "fence_listener", "position", "prepare", "wait_fence"]

# A live stream moves its watermark about each second; older than this, time itself counts as lag. Seconds.
FRESH = 2.5


@dataclass(frozen=True, slots=True)
class Position:
    """`lag_ms`: from the newest commit at the source to its being applied; it grows while a stream stands still."""

    lsn: int | None
    commit_at: datetime | None
    applied_at: datetime | None
    lag_ms: float | None
    state: str
    rows: int
    parked: int


def position(dsn: str, name: str) -> Position:
    """Of the stream `name` that ends in this database. Raises: NotPrepared, Transient."""
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            state = read_state(connection, name)
            if state is None:
                raise NotPrepared(f"stream {name} is not prepared in this database: run prepare")
            row = connection.execute(
                'SELECT clock_timestamp(), count(DISTINCT ("table", key)) FROM banyan.parked WHERE stream = %s', [name]
            ).fetchone()
    except psycopg.OperationalError as e:
        raise Transient(f"cannot read the position of {name}: {first_line(e)}") from e
    now, parked = row if row is not None else (datetime.now(UTC), 0)
    return Position(
        state.lsn,
        state.commit_at,
        state.applied_at,
        lag_ms(state.commit_at, state.applied_at, now),
        state.phase,
        state.rows,
        parked,
    )


def lag_ms(commit_at: datetime | None, applied_at: datetime | None, now: datetime) -> float | None:
    """None before the first position."""
    if commit_at is None or applied_at is None:
        return None
    end = applied_at if (now - applied_at).total_seconds() <= FRESH else now
    return max(0.0, (end - commit_at).total_seconds() * 1000)
