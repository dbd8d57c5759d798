"""Waiting for a fence marker to come through: LISTEN first, then look, then wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from cdc.change import lsn_number
from cdc.errors import FenceTimeout, Transient, first_line


@dataclass(frozen=True, slots=True)
class FenceApplied:
    """Everything that the source committed before the fence is in the target."""

    lsn: int
    applied_at: datetime
    waited_ms: float


class FenceListener:
    """Open it before the fence is emitted, so that connecting is no part of the write pause."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.execute("LISTEN banyan_fence")

    def wait(self, stream: str, domain: str, wave: int, epoch: int, timeout: float) -> FenceApplied:
        """Raises: FenceTimeout, Transient."""
        began = time.monotonic()
        deadline = began + timeout
        try:
            while (found := self._look(stream, domain, wave, epoch)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise FenceTimeout(
                        f"the fence of {domain} wave {wave} epoch {epoch} did not come through {stream}"
                        f" within {timeout:g} s: see the stream's status"
                    )
                for _ in self._connection.notifies(timeout=left, stop_after=1):
                    pass
        except psycopg.OperationalError as e:
            raise Transient(f"the target: {first_line(e)}") from e
        return FenceApplied(lsn_number(found[0]), found[1], (time.monotonic() - began) * 1000)

    def _look(self, stream: str, domain: str, wave: int, epoch: int) -> tuple[str, datetime] | None:
        return self._connection.execute(
            "SELECT lsn::text, applied_at FROM banyan.fence_applied"
            " WHERE stream = %s AND domain = %s AND wave = %s AND epoch = %s",
            [stream, domain, wave, epoch],
        ).fetchone()


@contextmanager
def fence_listener(target_dsn: str) -> Iterator[FenceListener]:
    """Raises: Transient."""
    try:
        connection = psycopg.connect(target_dsn, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as e:
        raise Transient(f"cannot connect to the target: {first_line(e)}") from e
    with connection:
        yield FenceListener(connection)


def wait_fence(target_dsn: str, stream: str, domain: str, wave: int, epoch: int, timeout: float) -> FenceApplied:
    """Connects, then waits. Raises: FenceTimeout, Transient."""
    with fence_listener(target_dsn) as listener:
        return listener.wait(stream, domain, wave, epoch, timeout)
