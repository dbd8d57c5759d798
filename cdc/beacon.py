"""A small thread beside a stream: heartbeats at the source. It cannot stop the stream."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import psycopg
import structlog

from cdc.apply.route import Routes
from cdc.capture import slot as slots
from cdc.change import PULSE
from cdc.emit import EMIT_FLUSHED, EMIT_TRANSACTION
from cdc.errors import first_line
from cdc.schema import watch
from cdc.schema.examine import lost_tables
from cdc.status import Status

# A watermark that has not moved for so long is moved by a pulse, seconds: above ten times a second. It moves those of
# all streams of the source, so that the others, who wait a little longer or shorter, need none; nor does a busy source.
PULSE_EVERY, PULSE_SPREAD = 0.078, 0.015
# Seconds between two looks at the slot, and at whether the tables are still published.
LOOK_EVERY = 1.0
TABLES_EVERY = 5.0

log = structlog.get_logger("cdc.beacon")


class Heartbeat(threading.Thread):
    """Also brings back where the source's WAL ends, how its slot is, and which tables do not come any more."""

    def __init__(
        self, dsn: str, slot: str, status: Status, stop: threading.Event, tables: Tables | None = None
    ) -> None:
        super().__init__(name=f"heartbeat-{status.stream}", daemon=True)
        self._dsn, self._slot, self._status, self._halt = dsn, slot, status, stop
        self._tables = tables
        self._look_at = self._tables_at = 0.0
        status.slot_name = slot

    def run(self) -> None:
        while not self._halt.is_set():
            try:
                with psycopg.connect(
                    self._dsn,
                    autocommit=True,
                    connect_timeout=5,
                    application_name=f"banyan-cdc {self._status.stream} heartbeat",
                ) as connection:
                    self._beat(connection)
            except psycopg.Error as e:
                log.warning("no heartbeat", stream=self._status.stream, error=first_line(e))
                self._halt.wait(LOOK_EVERY)

    def _beat(self, connection: psycopg.Connection[Any]) -> None:
        prompt = connection.info.server_version >= 170000
        emit = EMIT_FLUSHED if prompt else EMIT_TRANSACTION
        while not self._halt.is_set():
            if self._status.state == "retired":  # nobody waits for its watermark
                self._halt.wait(LOOK_EVERY)
                continue
            patience = PULSE_EVERY + random.uniform(0, PULSE_SPREAD)  # noqa: S311
            if (rest := patience - self._status.age()) <= 0:
                connection.execute(emit, [PULSE])
                rest = patience
            if time.monotonic() - self._look_at >= LOOK_EVERY:
                self._look_at = time.monotonic()
                self._look(connection)
            self._halt.wait(rest)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        status = self._status
        found = slots.find(connection, self._slot)
        status.slot, status.slot_known = found, True
        if found is not None:
            status.source_lsn = found.wal_end
        if self._tables is not None and time.monotonic() - self._tables_at >= TABLES_EVERY:
            self._tables_at = time.monotonic()
            status.lost_tables = self._tables.lost(connection)


class Tables:
    """Whether a stream's tables are there. Where event triggers are at work they tell it, and at the right place."""

    def __init__(self, routes: Routes, publication: str) -> None:
        self._routes, self._publication = routes, publication

    def lost(self, connection: psycopg.Connection[Any]) -> str:
        if watch.installed(connection):
            return ""
        return lost_tables(connection, self._routes, self._publication) or ""
