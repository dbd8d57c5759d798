"""Replication slots: create, judge, drop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.change import lsn_number, lsn_text
from cdc.errors import CdcError, SlotAhead, SlotLost, Transient, WrongSource

# Creating a slot waits for the transactions that run at that moment, seconds.
CREATE_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Slot:
    """What the server says of a slot, and where its WAL ends."""

    plugin: str
    confirmed_lsn: int
    wal_status: str | None
    wal_end: int
    active: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """A new slot and the snapshot that shows the database exactly as it was at `lsn`."""

    lsn: int
    snapshot: str


def find(connection: psycopg.Connection[Any], name: str) -> Slot | None:
    row = connection.execute(
        "SELECT plugin, confirmed_flush_lsn, wal_status, pg_current_wal_lsn(), active FROM pg_replication_slots"
        " WHERE slot_name = %s AND database = current_database()",
        [name],
    ).fetchone()
    if row is None:
        return None
    plugin, confirmed, status, end, active = row
    return Slot(plugin, lsn_number(confirmed) if confirmed else 0, status, lsn_number(end), active)


# What helps when changes are lost. A fill overwrites the target, so it is for a target that owns nothing.
AGAIN = (
    "while legacy owns every wave, fill a forward stream again (`python -m cdc snapshot --stream NAME`),"
    " make a reverse one again (`banyan prepare DOMAIN --remake-reverse`); else roll back first"
)


def judge(name: str, slot: Slot | None, position: int) -> CdcError | None:
    """Why the stream must not resume at `position` (stored in the target), if so.

    The server silently starts at the later of the two positions: a slot that was recreated, or advanced by someone
    else, would skip changes without a word.
    """
    if slot is None:
        return SlotLost(f"slot {name} does not exist: changes since {lsn_text(position)} are lost; {AGAIN}")
    if slot.plugin != "pgoutput":
        return SlotLost(f"slot {name} belongs to plugin {slot.plugin}, not pgoutput: choose another slot name")
    if slot.wal_status == "lost":
        return SlotLost(
            f"slot {name} is invalidated, its WAL was removed: changes since {lsn_text(position)} are lost; {AGAIN}"
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
    return None


def create_exported(replication: psycopg.Connection[Any], name: str) -> Exported:
    """Make the slot; the snapshot lives as long as the connection does nothing else. Raises: Transient."""
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export')").format(sql.Identifier(name))
    with _time_limit(replication, name):
        row = replication.execute(command).fetchone()
    assert row is not None
    return Exported(lsn_number(row[1]), row[2])


def create(connection: psycopg.Connection[Any], name: str) -> int:
    """Make the slot without a snapshot; returns its position. Raises: Transient."""
    with _time_limit(connection, name):
        row = connection.execute(
            "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')", [name]
        ).fetchone()
    assert row is not None
    return lsn_number(row[0])


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
            time.sleep(0.05)
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
