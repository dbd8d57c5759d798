"""One streaming replication connection: START_REPLICATION, its messages, keepalives and feedback.

psycopg has no high-level replication API; its `pq` layer has what the protocol needs (copy-both, psycopg ≥ 3.3).
Source: PostgreSQL manual, "Streaming Replication Protocol".
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from struct import Struct
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from psycopg.pq import DiagnosticField, ExecStatus

from cdc.capture.options import as_sql, options
from cdc.capture.slot import AGAIN, history
from cdc.capture.types import SESSION_OPTIONS
from cdc.change import PG_EPOCH, lsn_text, pg_time
from cdc.errors import CdcError, NotPrepared, ProtocolError, SlotLost, Transient

# One drain of the socket: small enough that a batch is handed on soon, large enough that the hand-over costs nothing.
DRAIN_MESSAGES = 2000
DRAIN_BYTES = 4 * 1024 * 1024
# Silence from the server (it heartbeats each second) after which the connection counts as dead, seconds.
SILENCE = 30.0
# Silence after which a sign of life is asked for, seconds.
ASK = 5.0

_START = Struct("!Q").unpack_from
_KEEPALIVE = Struct("!Qq?").unpack_from
_STATUS = Struct("!cQQQq?").pack
_XLOG_HEADER = 25


class WalData(msgspec.Struct, frozen=True, gc=False):
    """One pgoutput message and the position it was read at."""

    lsn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Every transaction committed before `lsn` has been sent; `at` is the server's clock."""

    lsn: int
    at: datetime
    reply: bool


def connect(dsn: str, name: str) -> psycopg.Connection[Any]:
    """A connection that speaks the replication protocol (and SQL). Raises: Transient."""
    try:
        return psycopg.connect(
            dsn,
            replication="database",
            autocommit=True,
            options=SESSION_OPTIONS,
            application_name=name,
            connect_timeout=5,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
    except psycopg.OperationalError as e:
        raise Transient(f"cannot connect to the source: {str(e).strip()}") from e


def identify(connection: psycopg.Connection[Any]) -> tuple[str, int]:
    """The cluster's system identifier, and the timeline that it is on."""
    row = connection.execute("IDENTIFY_SYSTEM").fetchone()
    assert row is not None
    return row[0], int(row[1])


def past(connection: psycopg.Connection[Any], timeline: int) -> dict[int, int]:
    """Where each earlier timeline of this one was left."""
    row = connection.execute(sql.SQL("TIMELINE_HISTORY {}").format(sql.Literal(timeline))).fetchone()
    assert row is not None
    text = row[1]
    return history(text.decode() if isinstance(text, bytes) else text)


class ReplicationStream:
    """Started at `lsn`; not thread-safe: one thread reads and confirms."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        slot: str,
        publications: Sequence[str],
        lsn: int,
        *,
        streaming: bool = False,
        binary: bool = False,
    ) -> None:
        """`streaming` and `binary`: see `cdc.capture.options`. Raises: NotPrepared, SlotLost, Transient."""
        self._pg = connection.pgconn
        self._connection = connection
        self.received = lsn
        self.confirmed = lsn
        self._heard = self._looked = time.monotonic()
        self._ended: CdcError | None = None
        self._slot = slot
        asked = options(connection.info.server_version, publications, streaming=streaming, binary=binary)
        command = sql.SQL("START_REPLICATION SLOT {slot} LOGICAL {lsn} ({options})").format(
            slot=sql.Identifier(slot),
            lsn=sql.SQL(lsn_text(lsn)),  # hexadecimal digits and a slash only
            options=as_sql(asked),
        )
        result = self._pg.exec_(command.as_bytes(connection))
        if result.status != ExecStatus.COPY_BOTH:
            raise _refusal(slot, result)
        self._pg.nonblocking = 1

    def read(self) -> tuple[list[WalData | Keepalive], int]:
        """What has arrived, at most one drain, and its size in bytes. Never blocks.

        Raises: Transient when the server ended the stream, SlotLost.
        """
        found: list[WalData | Keepalive] = []
        size = 0
        if self._ended is not None:
            raise self._ended
        try:
            self._pg.consume_input()
            while len(found) < DRAIN_MESSAGES and size < DRAIN_BYTES:
                count, buffer = self._pg.get_copy_data(1)
                if count == 0:
                    break
                if count < 0:
                    self._ended = _refusal(self._slot, self._pg.get_result())
                    break
                data = bytes(buffer)
                if data[:1] == b"w":
                    (start,) = _START(data, 1)
                    found.append(WalData(start, data[_XLOG_HEADER:]))
                else:
                    found.append(self._keepalive(data))
                size += count
        except psycopg.OperationalError as e:
            raise Transient(f"the source closed the stream: {str(e).strip()}") from e
        if not found and self._ended is not None:
            raise self._ended
        if found and isinstance(last := found[-1], WalData):  # told to the server, no more
            self.received = max(self.received, last.lsn)
        self._listen(bool(found))
        return found, size

    def wait(self, timeout: float) -> bool:
        """Block until something arrives. A poll on the socket: an idle stream wakes within microseconds of a commit."""
        ready, _, _ = select.select([self._pg.socket], [], [], timeout)
        return bool(ready)

    def confirm(self, lsn: int) -> None:
        """Tell the server that everything before `lsn` is durable at the target; also serves as keepalive."""
        self.confirmed = max(self.confirmed, lsn)
        now = int((datetime.now(UTC) - PG_EPOCH).total_seconds() * 1_000_000)
        ask = time.monotonic() - self._heard > ASK
        status = _STATUS(b"r", max(self.received, self.confirmed), self.confirmed, self.confirmed, now, ask)
        deadline = time.monotonic() + 10
        try:
            self._pg.put_copy_data(status)
            while self._pg.flush():
                if time.monotonic() > deadline:
                    raise Transient("the source takes no feedback")
                select.select([], [self._pg.socket], [], 0.1)
        except psycopg.OperationalError as e:
            raise Transient(f"the source closed the stream: {str(e).strip()}") from e

    def close(self) -> None:
        self._connection.close()

    def _listen(self, heard: bool) -> None:
        """Silence counts only while somebody listens, not while reading is paused."""
        now = time.monotonic()
        if heard or now - self._looked > ASK:
            self._heard = now
        elif now - self._heard > SILENCE:
            raise Transient(f"the source has been silent for {SILENCE:.0f} s")
        self._looked = now

    def _keepalive(self, data: bytes) -> Keepalive:
        if data[:1] != b"k":
            raise ProtocolError(f"unknown replication message {data[:1]!r}")
        end, at, reply = _KEEPALIVE(data, 1)
        self.received = max(self.received, end)
        return Keepalive(end, pg_time(at), reply)


def _refusal(slot: str, result: Any) -> CdcError:
    """What the server's error means for the stream."""
    state = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
    text = (result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"the server ended the stream").decode(
        errors="replace"
    )
    if state == "42704" and "publication" in text:
        return NotPrepared(f"{text}: run prepare for this stream")
    if state == "42704":
        return SlotLost(f"{text}: {AGAIN}")
    if state == "55000":  # invalidated, or of another plugin or database
        return SlotLost(f"slot {slot}: {text}: {AGAIN}")
    if state.startswith(("42", "22")):
        return NotPrepared(f"the source refuses the stream: {text}")
    return Transient(f"the source: {text}")
