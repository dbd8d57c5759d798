"""Replication slots: create, judge, drop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.change import lsn_number, lsn_text
from cdc.errors import CdcError, SlotAhead, SlotLost, SlotTaken, Transient, WrongSource

# Creating a slot waits for the transactions that run at that moment, seconds.
CREATE_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Slot:
    """What the server says of a slot, and where its WAL ends.

    `retained`: bytes of WAL that are kept for it. `room`: bytes until it is lost, None without a limit. `reader`: the
    application that reads it, with its process. `why`: what invalidated it.
    """

    plugin: str
    confirmed_lsn: int
    wal_status: str | None
    wal_end: int
    active: bool = False
    restart_lsn: int = 0
    room: int | None = None
    failover: bool = False
    reader: str | None = None
    reader_pid: int | None = None
    why: str | None = None

    @property
    def retained(self) -> int:
        return max(0, self.wal_end - self.restart_lsn) if self.restart_lsn else 0

    @property
    def unconfirmed(self) -> int:
        """Bytes of WAL that the reader has not confirmed; what is retained beyond it, open transactions keep."""
        return max(0, self.wal_end - self.confirmed_lsn) if self.confirmed_lsn else 0


@dataclass(frozen=True, slots=True)
class Exported:
    """A new slot and the snapshot that shows the database exactly as it was at `lsn`."""

    lsn: int
    snapshot: str


def find(connection: psycopg.Connection[Any], name: str) -> Slot | None:
    row = connection.execute(
        "SELECT s.plugin, s.confirmed_flush_lsn::text, s.wal_status, pg_current_wal_lsn()::text, s.active,"
        " s.restart_lsn::text, s.safe_wal_size, (to_jsonb(s) ->> 'failover')::bool, a.application_name, s.active_pid,"
        " to_jsonb(s) ->> 'invalidation_reason'"  # the last two came with PostgreSQL 17
        " FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid"
        " WHERE s.slot_name = %s AND s.database = current_database()",
        [name],
    ).fetchone()
    if row is None:
        return None
    plugin, confirmed, status, end, active, restart, room, failover, reader, pid, why = row
    at = [lsn_number(text) if text else 0 for text in (confirmed, end, restart)]
    return Slot(plugin, at[0], status, at[1], active, at[2], room, bool(failover), reader, pid, why)


# What helps when changes are lost: one command, which refuses where it would overwrite what only the target has.
AGAIN = "make slot and rows good again: `banyan stream recover DOMAIN` (or `python -m cdc recover --stream NAME`)"


def judge(name: str, slot: Slot | None, position: int, ours: str | None = None) -> CdcError | None:
    """Why the stream must not resume at `position` (stored in the target), if so.

    The server silently starts at the later of the two positions: a slot that was recreated, or advanced by someone
    else, would skip changes without a word. `ours`: the name by which our own reader is known.
    """
    if slot is None:
        return SlotLost(f"slot {name} does not exist: changes since {lsn_text(position)} are lost; {AGAIN}")
    if slot.plugin != "pgoutput":
        return SlotLost(f"slot {name} belongs to plugin {slot.plugin}, not pgoutput: choose another slot name")
    if slot.wal_status == "lost":
        return SlotLost(
            f"slot {name} is invalidated ({slot.why or 'wal_removed'}), its WAL was removed: changes since"
            f" {lsn_text(position)} are lost; {AGAIN}"
        )
    if slot.confirmed_lsn > position:
        return SlotAhead(
            f"slot {name} is at {lsn_text(slot.confirmed_lsn)}, past the target's position {lsn_text(position)}:"
            f" someone recreated or advanced it, and the changes between are lost; {AGAIN}"
        )
    if position > slot.wal_end:
        return WrongSource(
            f"the target's position {lsn_text(position)} is past the source's end of WAL {lsn_text(slot.wal_end)}:"
            f" this is not the cluster the stream was made for, or an older copy; {AGAIN}"
        )
    if slot.active and ours is not None and slot.reader is not None and slot.reader != ours:
        return SlotTaken(
            f"slot {name} is read by another program, {slot.reader or 'without a name'} (pid {slot.reader_pid}):"
            " a slot has one reader, and what that one confirms is lost to the stream; end it"
        )
    return None


def judge_timeline(name: str, position: int, known: int | None, now: int, ends: Mapping[int, int]) -> CdcError | None:
    """Whether a source that was promoted still has everything that the target has.

    `known`: the timeline that the position was read on; `ends`: where the server's history left earlier timelines. A
    standby that took over without some of the last commits writes others in their place, at the same positions.
    """
    if known is None or known == now:
        return None
    end = ends.get(known)
    if end is None:
        return WrongSource(
            f"stream {name} was read on timeline {known}, which is none of the source's past (it is on {now}): this is"
            f" another branch of the cluster; {AGAIN}"
        )
    if position > end:
        return WrongSource(
            f"the source was promoted at {lsn_text(end)} (timeline {now}), before the target's position"
            f" {lsn_text(position)}: it lacks commits that the target has; compare both sides, then {AGAIN}"
        )
    return None


def history(text: str) -> dict[int, int]:
    """Where each earlier timeline was left, of a timeline history file: `1<tab>0/3000A8C8<tab>reason` a line."""
    lines = (line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {int(parts[0]): lsn_number(parts[1].strip()) for parts in lines if len(parts) > 1}


def create_exported(replication: psycopg.Connection[Any], name: str, failover: bool = True) -> Exported:
    """Make the slot; the snapshot lives as long as the connection does nothing else. Raises: Transient."""
    more = sql.SQL(", FAILOVER true" if failover and follows(replication) else "")
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export'{})").format(
        sql.Identifier(name), more
    )
    with _time_limit(replication, name):
        row = replication.execute(command).fetchone()
    assert row is not None
    return Exported(lsn_number(row[1]), row[2])


def create_temporary(replication: psycopg.Connection[Any], name: str) -> int:
    """Make a slot that ends with its connection; returns its position. Raises: Transient."""
    command = sql.SQL("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')")
    with _time_limit(replication, name):
        row = replication.execute(command.format(sql.Identifier(name))).fetchone()
    assert row is not None
    return lsn_number(row[1])


def create(connection: psycopg.Connection[Any], name: str, failover: bool = True) -> int:
    """Make the slot without a snapshot; returns its position. Raises: Transient."""
    more = ", failover => true" if failover and follows(connection) else ""
    with _time_limit(connection, name):
        row = connection.execute(
            sql.SQL("SELECT lsn::text FROM pg_create_logical_replication_slot({}, 'pgoutput'{})").format(
                sql.Literal(name), sql.SQL(more)
            )
        ).fetchone()
    assert row is not None
    return lsn_number(row[0])


def follows(connection: psycopg.Connection[Any]) -> bool:
    """Whether this server can give a slot to its standbys, so that it outlives a failover."""
    return connection.info.server_version >= 170000


def set_failover(replication: psycopg.Connection[Any], name: str, failover: bool) -> None:
    """Of a slot that nobody reads, over a replication connection to PostgreSQL 17 or newer."""
    value = sql.SQL("true" if failover else "false")
    command = sql.SQL("ALTER_REPLICATION_SLOT {} (FAILOVER {})").format(sql.Identifier(name), value)
    replication.execute(command)


def drop(connection: psycopg.Connection[Any], name: str, timeout: float = 10.0) -> bool:
    """Drop the slot if it is there, waiting for its reader to leave. Raises: Transient."""
    deadline = time.monotonic() + timeout
    while True:
        if find(connection, name) is None:
            return False
        try:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
        except psycopg.errors.ObjectInUse as e:
            if time.monotonic() > deadline:
                raise Transient(f"slot {name} is still read: stop the stream first ({str(e).strip()})") from e
            time.sleep(0.05)  # what can wait for a reader to leave, DROP_REPLICATION_SLOT … WAIT, waits without limit
        else:
            return True


@contextmanager
def _time_limit(connection: psycopg.Connection[Any], name: str) -> Iterator[None]:
    timer = threading.Timer(CREATE_TIMEOUT, connection.cancel_safe)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.errors.QueryCanceled as e:
        raise Transient(
            f"slot {name} could not be made within {CREATE_TIMEOUT:.0f} s:"
            " a transaction at the source has been open all that time; end it"
        ) from e
    finally:
        timer.cancel()
