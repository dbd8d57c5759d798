"""A request's record in the target (banyan.snapshot), as the thread that works on it reads and writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg

from cdc.apply import parked
from cdc.snapshot.chunks import Blocks, text_of
from cdc.snapshot.requests import Key, Request
from cdc.snapshot.tap import Cancelled

RUNNING = "SELECT 1 FROM banyan.snapshot WHERE id = %s AND state = 'running'"
BEGIN = """
UPDATE banyan.snapshot SET state = 'running', expected = coalesce(expected, %s), problem = NULL, rate = NULL,
    began_at = coalesce(began_at, clock_timestamp()) WHERE id = %s AND state IN ('waiting', 'running')
"""
NEXT_BLOCKS = """
SELECT first_block, end_block FROM banyan.snapshot_blocks WHERE snapshot = %s ORDER BY first_block LIMIT 1
"""
STRIKE = "DELETE FROM banyan.snapshot_blocks WHERE snapshot = %(snapshot)s AND first_block = %(first)s"
SHORTEN = """
UPDATE banyan.snapshot_blocks SET first_block = %(stop)s WHERE snapshot = %(snapshot)s AND first_block = %(first)s
"""
FORGET = "DELETE FROM banyan.snapshot_again WHERE snapshot = %s AND key = ANY(%s::jsonb[])"


class Record:
    """`target` is the thread's own connection; `strike` and `forget` are given the one that writes the window."""

    def __init__(self, target: psycopg.Connection[Any], request: Request) -> None:
        self._target, self.request = target, request
        self._waits: str | None = None

    def begin(self, expected: int) -> None:
        self._target.execute(BEGIN, [expected, self.request.id])

    def end(self) -> None:
        """Raises: Cancelled."""
        self.update("state = 'done', position = NULL, waits = NULL, rate = NULL, ended_at = clock_timestamp()", [])

    def update(self, what: str, parameters: list[Any]) -> None:
        """Raises: Cancelled when the request is not running any more."""
        query = f"UPDATE banyan.snapshot SET {what} WHERE id = %s AND state = 'running'"  # noqa: S608
        if not self._target.execute(query, [*parameters, self.request.id]).rowcount:
            raise Cancelled

    def tell(self, waits: str | None) -> None:
        """Why it waits, for those who look; None: it goes on. Raises: Cancelled."""
        if waits != self._waits:
            self.update("waits = %s", [waits])
            self._waits = waits
        elif self._target.execute(RUNNING, [self.request.id]).fetchone() is None:
            raise Cancelled

    # ---- blocks that a first fill left

    def blocks(self) -> Blocks | None:
        """The next of those that are left."""
        row = self._target.execute(NEXT_BLOCKS, [self.request.id]).fetchone()
        return Blocks(*row) if row is not None else None

    def strike(self, first: int, stop: int | None, target: psycopg.Connection[Any]) -> None:
        """Blocks that were copied, off the list of what is left; `stop`: where the rest of their range begins."""
        query = STRIKE if stop is None else SHORTEN
        target.execute(query, {"snapshot": self.request.id, "first": first, "stop": stop})

    def start_over(self) -> None:
        """As a whole, by keys. Raises: Cancelled."""
        self._target.execute("DELETE FROM banyan.snapshot_blocks WHERE snapshot = %s", [self.request.id])
        self.update("step = 'strangers', position = NULL, rows = 0", [])

    # ---- keys to be read again

    def moved(self) -> set[Key]:
        rows = self._target.execute("SELECT key FROM banyan.snapshot_again WHERE snapshot = %s", [self.request.id])
        return {tuple(key) for (key,) in rows}

    def parked(self, source: str) -> set[Key]:
        """Of this source table."""
        found = parked.load_keys(self._target, self.request.stream)
        keys = [json.loads(key) for table, key in found if table == source]
        return {tuple(map(text_of, key)) for key in keys if None not in key}

    def forget(self, keys: Sequence[Key], target: psycopg.Connection[Any]) -> None:
        target.execute(FORGET, [self.request.id, [json.dumps(key) for key in keys]])
