"""Holds a snapshot back: by what its source bears, and by a rate. Shared by the threads of one snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from cdc.snapshot.progress import Progress
from cdc.throttle import Limits, Load, Rate, too_busy, too_much_wal

# Seconds between two looks at the source's load.
LOOK_EVERY = 1.0
# How long one wait lasts before the stop flag is looked at, seconds.
SLICE = 0.1


class Interrupted(Exception):
    """Raised when the process is asked to stop while it fills; the next start goes on where it was."""


class Brake:
    def __init__(self, limits: Limits, progress: Progress, stopping: Callable[[], bool]) -> None:
        self.limits, self._progress, self._stopping = limits, progress, stopping
        self._rate = Rate(limits.rows_per_s)
        self._lock = threading.Lock()
        self._looked = 0.0
        self._stopped = False

    def stop(self) -> None:
        """What still works ends at its next piece."""
        self._stopped = True

    def due(self) -> bool:
        return time.monotonic() - self._looked >= LOOK_EVERY

    def limit(self, rows_per_s: int | None) -> None:
        """A request's own limit; the lower of the two counts."""
        own = [each for each in (rows_per_s, self.limits.rows_per_s) if each is not None]
        self._rate = Rate(min(own, default=None))

    def passed(self, rows: int) -> None:
        """So many rows were read. Raises: Interrupted."""
        self._progress.add(rows)
        with self._lock:
            until = (now := time.monotonic()) + self._rate.wait_s(rows, now)
        self._wait(lambda: time.monotonic() >= until)

    def rate(self) -> float:
        """Rows a second of late."""
        return self._progress.rate()

    def hold(self) -> None:
        """Wait for as long as the source is too busy, as `look` found it. Raises: Interrupted."""
        self._wait(lambda: self._progress.waits is None)

    def look(self, source: psycopg.Connection[Any], wal: bool) -> Load:
        """`wal`: whether WAL that slots keep is a reason to wait."""
        load = read_load(source)
        self._looked = time.monotonic()
        self._progress.waits = too_busy(load, self.limits) or (too_much_wal(load, self.limits) if wal else None)
        return load

    def look_and_hold(self, source: psycopg.Connection[Any], tell: Callable[[str], None]) -> None:
        """For a thread that has the source to itself; `tell` hears why it waits. Raises: Interrupted."""
        if not self.due() and self._progress.waits is None:
            return
        self.look(source, wal=True)
        while (waits := self._progress.waits) is not None:
            tell(waits)
            self._wait(self.due)
            self.look(source, wal=True)

    def _wait(self, over: Callable[[], bool]) -> None:
        while not over():
            self._check()
            # A pace, and a look at `stopping`, which is no event.
            time.sleep(0.01 if self._rate.per_s else SLICE)
        self._check()

    def _check(self) -> None:
        if self._stopped or self._stopping():
            raise Interrupted


def read_load(source: psycopg.Connection[Any]) -> Load:
    """As prepare lets the stream's role see it; a source that was prepared before that shows its slots only."""
    try:
        row = source.execute("SELECT * FROM banyan.source_load()").fetchone()
    except (
        psycopg.errors.UndefinedFunction,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.InsufficientPrivilege,
    ):
        row = source.execute(
            "SELECT 0, 0.0::float8,"
            " (SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)::bigint"
            " FROM pg_replication_slots WHERE wal_status IS DISTINCT FROM 'lost'), NULL::bigint"
        ).fetchone()
    assert row is not None
    return Load(*row)
