"""A whole target transaction in one piece: statements and COPY data that need one round trip, not one each.

Sent as a simple query of several statements; the server asks for each COPY's data when it comes to it. After the last
data nothing is waited for: the next batch is made ready while the target works.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from cdc.errors import Transient

# A target that takes no data, or gives no answer, for so long: a lock, which an operator should see in the status.
PATIENCE = 600.0


class Script:
    """Statements in order; some of them are COPYs, each with its data."""

    __slots__ = ("copies", "statements")

    def __init__(self) -> None:
        self.statements: list[bytes] = []
        self.copies: list[bytes] = []

    def add(self, statement: bytes) -> None:
        self.statements.append(statement)

    def copy(self, statement: bytes, data: bytes) -> None:
        self.statements.append(statement)
        self.copies.append(data)


class Wire:
    """The applier's connection at the level of libpq. Between `send` and `finish` nothing else may use it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._pg = connection.pgconn
        self._error: psycopg.Error | None = None

    def send(self, script: Script) -> None:
        """Returns when the server has been given everything. What it refuses comes from `finish`. Raises: Transient."""
        self._error = None
        try:
            self._pg.send_query(b";\n".join(script.statements))
            self._flush()
            for data in script.copies:
                if not self._until_copy():
                    return
                self._pg.put_copy_data(data)
                self._pg.put_copy_end()
                self._flush()
        except psycopg.OperationalError as e:
            raise Transient(f"the target: {str(e).strip()}") from e

    def finish(self) -> list[pq.abc.PGresult]:
        """The results that have rows. Raises: the psycopg.Error of the first statement that failed, Transient."""
        rows: list[pq.abc.PGresult] = []
        try:
            for result in self._results():
                if result.status == pq.ExecStatus.TUPLES_OK:
                    rows.append(result)
        except psycopg.OperationalError as e:
            raise Transient(f"the target: {str(e).strip()}") from e
        if self._error is not None:
            raise self._error
        return rows

    def _until_copy(self) -> bool:
        """False when the script has failed before."""
        return any(result.status == pq.ExecStatus.COPY_IN for result in self._results())

    def _results(self) -> Iterator[pq.abc.PGresult]:
        while True:
            self._wait()
            result = self._pg.get_result()
            if result is None:
                return
            if result.status == pq.ExecStatus.FATAL_ERROR and self._error is None:
                self._error = error_from_result(result)
            yield result

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._pg.is_busy():
            if not select.select([self._pg.socket], [], [], 1.0)[0] and time.monotonic() > deadline:
                raise Transient(f"the target does not answer for {PATIENCE:.0f} s: what does it wait for?")
            self._pg.consume_input()

    def _flush(self) -> None:
        """Also reads, lest both sides wait for each other to read."""
        deadline = time.monotonic() + PATIENCE
        while self._pg.flush():
            ready, free, _ = select.select([self._pg.socket], [self._pg.socket], [], 1.0)
            if ready:
                self._pg.consume_input()
            if ready or free:
                deadline = time.monotonic() + PATIENCE
            elif time.monotonic() > deadline:
                raise Transient(f"the target takes no data for {PATIENCE:.0f} s: what does it wait for?")
