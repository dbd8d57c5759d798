"""Puts the guard into a live database: one transaction, bounded waiting for locks, safe to run again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import psycopg

from cdc.apply import install_state
from cdc.guard import grants, triggers
from cdc.guard.errors import FenceTimeout, GuardError
from cdc.guard.waves import WHOLE, Wave, require_cover
from cdc.mapping import Mapping, Side

OTHER_INSTALLERS = 4_210_421  # key of the advisory lock that keeps two installations apart


def install(
    connection: psycopg.Connection[Any],
    mapping: Mapping,
    side: Side,
    waves: Sequence[Wave] = WHOLE,
    *,
    lock_timeout_ms: int = 300,
    attempts: int = 10,
) -> None:
    """Guard the domain's tables of this side; new waves start with owner `legacy`, epoch 1, known ones stay so.

    Writers wait at most `lock_timeout_ms` for us; when they hold a table longer we give way and try again.
    Raises: FenceTimeout when all attempts met such writers, GuardError; then nothing was changed.
    """
    require_cover(mapping.domain, waves)
    for attempt in range(attempts):
        try:
            with _transaction(connection, lock_timeout_ms):
                _install(connection, mapping, side, waves)
            return
        except psycopg.errors.LockNotAvailable as error:
            if attempt + 1 == attempts:
                raise FenceTimeout(
                    f"{mapping.domain}: writers held the tables for more than {lock_timeout_ms} ms, {attempts} times; "
                    "nothing changed, end the long transaction or try again"
                ) from error
            time.sleep(lock_timeout_ms / 1000)  # let the queue that formed behind us drain


def uninstall(connection: psycopg.Connection[Any], mapping: Mapping, side: Side, *, lock_timeout_ms: int = 300) -> None:
    """Take the guard off the domain's tables and forget its waves. Raises: FenceTimeout; then nothing was changed."""
    try:
        with _transaction(connection, lock_timeout_ms):
            for table in mapping.own(side):
                triggers.remove(connection, table.table(side))
                triggers.remove_draw(connection, table.table(side))
            connection.execute("DELETE FROM banyan.guarded WHERE domain = %s", (mapping.domain,))
            connection.execute("DELETE FROM banyan.ownership WHERE domain = %s", (mapping.domain,))
    except psycopg.errors.LockNotAvailable as error:
        raise FenceTimeout(f"{mapping.domain}: its tables are busy; nothing changed, try again") from error


@contextmanager
def _transaction(connection: psycopg.Connection[Any], lock_timeout_ms: int) -> Iterator[None]:
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise GuardError("the guard needs a connection without an open transaction: commit first")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (OTHER_INSTALLERS,))
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (str(lock_timeout_ms),))
        yield


def _install(connection: psycopg.Connection[Any], mapping: Mapping, side: Side, waves: Sequence[Wave]) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise GuardError(f"this database is in {encoding}: buckets are made of UTF-8 text")
    connection.execute(resources.files(__package__).joinpath("guard.sql").read_bytes())
    _waves(connection, mapping.domain, waves)
    several = len(waves) > 1
    for table in mapping.own(side):  # reference data has one owner for ever: only tables that go both ways change hands
        name, key = table.table(side), table.bucket_key(side)
        triggers.require_guardable(connection, name, key, several)
        _claim(connection, mapping.domain, name, key, side)
        triggers.ensure(connection, name, (mapping.domain, side, key or ""), several)
        triggers.draw(connection, name, (mapping.domain, side, key or ""), several)
    for trigger in mapping.keep_triggers:
        table_name, _, trigger_name = trigger.rpartition(".")
        if any(table_name == table.table(side) for table in mapping.tables):
            triggers.keep(connection, table_name, trigger_name)
    install_state(connection)
    grants.grant(connection, sorted({table.table(side) for table in mapping.tables}))


def _waves(connection: psycopg.Connection[Any], domain: str, waves: Sequence[Wave]) -> None:
    """Insert the waves. A domain is cut anew only while all of it is at home: then nobody is moving it."""
    query = "SELECT wave, bucket_from, bucket_to, owner, epoch FROM banyan.ownership WHERE domain = %s"
    if {Wave(*row[:3]) for row in connection.execute(query, (domain,))} == set(waves):
        return
    rows = connection.execute(f"{query} FOR UPDATE", (domain,)).fetchall()
    if any(owner != "legacy" for *_, owner, _epoch in rows):
        raise GuardError(
            f"{domain} has other waves here already, and not all are legacy's: roll them back before you cut it anew"
        )
    connection.execute("DELETE FROM banyan.ownership WHERE domain = %s", (domain,))
    epoch = 1 + max((row[4] for row in rows), default=0)  # what somebody still knows of the old ones is refused
    connection.cursor().executemany(
        "INSERT INTO banyan.ownership (domain, wave, bucket_from, bucket_to, owner, epoch)"
        " VALUES (%s, %s, %s, %s, 'legacy', %s)",
        [(domain, wave.wave, wave.bucket_from, wave.bucket_to, epoch) for wave in waves],
    )


def _claim(connection: psycopg.Connection[Any], domain: str, table: str, key: str | None, side: Side) -> None:
    row = connection.execute(
        """INSERT INTO banyan.guarded AS g (domain, "table", key_column, side) VALUES (%s, %s, %s, %s)
           ON CONFLICT ("table") DO UPDATE SET key_column = excluded.key_column, side = excluded.side
           WHERE g.domain = excluded.domain RETURNING 1""",
        (domain, triggers.quoted(table), key, side),
    ).fetchone()
    if row is None:
        raise GuardError(f"{table} is guarded by another domain: a table moves with one domain only")
