"""Where the streams between two databases stand, and waiting until they have passed what was just read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from cdc.mapping import Direction

# The insert position lies behind every commit that anybody can see, also with synchronous_commit off.
NOW = "SELECT pg_current_wal_insert_lsn()::text"
PASSED = "SELECT source_lsn >= %s::pg_lsn FROM banyan.stream WHERE stream = %s AND source_lsn IS NOT NULL"
OWNERSHIP = "SELECT wave, owner, epoch FROM banyan.ownership WHERE domain = %s ORDER BY wave"
NOT_THERE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
POLL_S = 0.02


@dataclass(slots=True)
class Watermarks:
    """Reads over two autocommit connections of its caller."""

    domain: str
    legacy: psycopg.Connection[Any]
    service: psycopg.Connection[Any]
    timeout_s: float
    stalled: set[str] = field(default_factory=set)

    def ownership(self) -> tuple[tuple[Any, ...], ...]:
        """Who writes where; empty without a guard."""
        return (*self._read(self.legacy), *self._read(self.service))

    def wait(self) -> bool:
        """Wait until every stream whose source may have written has brought what the sources hold now.

        False when one did not in time: nothing can be said of what differs. A stream that never ran brings nothing.
        """
        owners = {owner for _, owner, _ in self.ownership()}
        waits: list[tuple[psycopg.Connection[Any], str, Any]] = []
        if owners != {"service"}:
            waits.append((self.service, self._stream("forward"), self.legacy.execute(NOW).fetchone()))
        if owners != {"legacy"}:
            waits.append((self.legacy, self._stream("reverse"), self.service.execute(NOW).fetchone()))
        deadline = time.monotonic() + self.timeout_s
        return all(self._until(target, stream, lsn[0], deadline) for target, stream, lsn in waits)

    def _until(self, target: psycopg.Connection[Any], stream: str, lsn: str, deadline: float) -> bool:
        while True:
            try:
                row = target.execute(PASSED, (lsn, stream)).fetchone()
            except NOT_THERE:
                return True
            if row is None or row[0]:
                return True
            if time.monotonic() > deadline:
                self.stalled.add(stream)
                return False
            time.sleep(POLL_S)

    def _stream(self, direction: Direction) -> str:
        return f"{self.domain}.{direction}"

    def _read(self, connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
        try:
            return connection.execute(OWNERSHIP, (self.domain,)).fetchall()
        except NOT_THERE:
            return []
