"""When a chunk may be read: at a moment that sees every transaction which the stream has brought.

A commit is in the WAL, and so in the stream, a moment before others can see it. Two kinds must be waited for:

1. What came by since the table is watched: known by its number, and seen or not by a snapshot.
2. What came by before that, and is not visible yet. It had its number by then, so it is among the transactions that
   are under way and older than a number taken afterwards. One that merely runs for long is among them too: they are
   waited for a second at most. A commit hangs for longer only where it waits for a standby (remote_apply).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

# Pause before a snapshot is taken anew, seconds.
AGAIN = 0.002
# So long transactions of kind 2 are waited for, seconds.
LONGEST_COMMIT = 1.0

SERIAL = 0xFFFFFFFF


class Sight:
    """Made when the stream already notes what comes by of the table."""

    def __init__(
        self, source: psycopg.Connection[Any], brought: Callable[[], Iterable[int]], check: Callable[[], None]
    ) -> None:
        """`brought`: numbers of the transactions that came by since; `check` raises when it is to stop."""
        self._source, self._brought, self._check = source, brought, check
        self._bound = _one(source, "SELECT pg_current_xact_id()::text")
        self._until = time.monotonic() + LONGEST_COMMIT

    @contextmanager
    def moment(self) -> Iterator[None]:
        """A transaction that sees every other which precedes what has come by now."""
        brought = set(self._brought())
        while True:
            self._source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = _one(self._source, "SELECT pg_current_snapshot()::text")
            if not unseen(snapshot, brought) and not self._hanging(snapshot, brought):
                break
            self._source.execute("ROLLBACK")
            self._check()
            time.sleep(AGAIN)  # a commit becomes visible without a word; its lock may be gone by then
        try:
            yield
        finally:
            if not self._source.closed:
                self._source.execute("ROLLBACK")

    def _hanging(self, snapshot: str, brought: set[int]) -> bool:
        return time.monotonic() < self._until and bool(older(snapshot, int(self._bound)) - brought)


def running(snapshot: str) -> set[int]:
    """The transactions that a `pg_snapshot` counts as under way, as 32-bit ids."""
    return {int(xid) & SERIAL for xid in snapshot.split(":")[2].split(",") if xid}


def older(snapshot: str, bound: int) -> set[int]:
    """Of those the ones with a number before `bound`."""
    return {xid for xid in running(snapshot) if _before(xid, bound)}


def unseen(snapshot: str, committed: Iterable[int]) -> set[int]:
    """Of these transactions (32-bit ids that the stream brought) those that a `pg_snapshot` does not see."""
    end = int(snapshot.split(":")[1])
    hidden = running(snapshot)
    return {xid for xid in committed if xid in hidden or not _before(xid, end)}


def _before(xid: int, bound: int) -> bool:
    """Numbers go round (PostgreSQL manual, Transactions and Identifiers)."""
    return (xid - bound) & SERIAL >= 0x80000000


def _one(connection: psycopg.Connection[Any], query: str) -> str:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])
