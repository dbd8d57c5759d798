"""Two small threads beside a stream: heartbeats at the source, the watermark into Redis. Neither can stop it."""

from __future__ import annotations

import threading
import time
from typing import Any

import orjson
import psycopg
import redis
import structlog

from cdc.change import HEARTBEAT, lsn_number
from cdc.status import Status

# Seconds between heartbeats: an idle source's watermark moves with them.
HEARTBEAT_EVERY = 0.25
# Redis gets the watermark at least each second and at most this often, seconds.
PUBLISH_GAP = 0.05
PUBLISH_EVERY = 1.0

# A message outside a transaction reaches the reader once it is flushed: at once where the server can be asked to
# (PostgreSQL 17), else as a transaction of its own.
EMIT_FLUSHED = "SELECT pg_logical_emit_message(false, %s, extract(epoch from clock_timestamp())::text, true)"
EMIT_TRANSACTION = "SELECT pg_logical_emit_message(true, %s, extract(epoch from clock_timestamp())::text)"

WATERMARKS = "banyan:watermark"

log = structlog.get_logger("cdc.beacon")


class Heartbeat(threading.Thread):
    """Also brings back where the source's WAL ends and how its slot is."""

    def __init__(self, dsn: str, slot: str, status: Status, stop: threading.Event) -> None:
        super().__init__(name=f"heartbeat-{status.stream}", daemon=True)
        self._dsn, self._slot, self._status, self._halt = dsn, slot, status, stop

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
                log.warning(
                    "no heartbeat",
                    stream=self._status.stream,
                    error=str(e).strip().splitlines()[0] if str(e).strip() else "",
                )
                self._halt.wait(HEARTBEAT_EVERY)

    def _beat(self, connection: psycopg.Connection[Any]) -> None:
        prompt = connection.info.server_version >= 170000
        emit = EMIT_FLUSHED if prompt else EMIT_TRANSACTION
        while not self._halt.is_set():
            connection.execute(emit, [HEARTBEAT])
            row = connection.execute(
                "SELECT pg_current_wal_lsn(), wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)"
                " FROM (SELECT) AS one LEFT JOIN pg_replication_slots ON slot_name = %s",
                [self._slot],
            ).fetchone()
            if row is not None:
                self._status.source_lsn = lsn_number(row[0])
                self._status.wal_status = row[1] or "missing"
                self._status.retained_bytes = int(row[2] or 0)
            self._halt.wait(HEARTBEAT_EVERY)


class Publisher(threading.Thread):
    """HSET banyan:watermark <stream> {…}. Redis may be down for as long as it likes."""

    def __init__(self, url: str, status: Status, stop: threading.Event) -> None:
        super().__init__(name=f"publisher-{status.stream}", daemon=True)
        self._client = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._status, self._halt = status, stop
        self._down = False

    def run(self) -> None:
        while not self._halt.is_set():
            self._status.changed.wait(PUBLISH_EVERY)
            self._status.changed.clear()
            self._publish()
            time.sleep(PUBLISH_GAP)
        self._client.close()

    def _publish(self) -> None:
        watermark = self._status.watermark()
        if watermark is None:
            return
        try:
            self._client.hset(WATERMARKS, self._status.stream, orjson.dumps(watermark).decode())
        except redis.RedisError as e:
            if not self._down:
                log.warning("redis does not take the watermark", stream=self._status.stream, error=type(e).__name__)
            self._down = True
        else:
            self._down = False
