"""The target connection of an applier: its origin, replica role, and the meaning of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from cdc.errors import AtWork, CdcError, RowMissing, SchemaChanged, TargetRefused, Transient, first_line
from cdc.mapping.errors import ConversionError

# SQLSTATE classes that are about one row: data exception, integrity constraint, exception raised by a trigger; and two
# rows of one statement that are one to the target.
POISON = ("22", "23", "P0", "21000")
# Undefined column or table, another type than the value has, no unique key to upsert by: the target's table changed.
SHAPE = ("42703", "42P01", "42804", "42846", "42P10")
# How long a session that was told to end is waited for, milliseconds.
GONE_MS = 5_000
# Locks, deadlocks, serialization, cancel, resources, shutdown, connection: the same step may work in a moment.
PASSING = ("40", "53", "55", "57", "58", "08")


def connect(dsn: str, name: str) -> psycopg.Connection[Any]:
    """Autocommit, explicit transactions. Raises: Transient."""
    try:
        connection: psycopg.Connection[Any] = psycopg.connect(
            dsn,
            autocommit=True,
            application_name=name,
            connect_timeout=5,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            prepare_threshold=2,
            options=(
                "-c client_encoding=UTF8 -c timezone=UTC -c datestyle=ISO -c standard_conforming_strings=on"
                " -c client_min_messages=warning"
            ),
        )
    except psycopg.OperationalError as e:
        raise Transient(f"cannot connect to the target: {first_line(e)}") from e
    return connection


def become_applier(connection: psycopg.Connection[Any], origin: str) -> None:
    """Triggers and foreign keys stay quiet. What is written carries `origin`: guards let it pass, the other direction's
    capture leaves it out.

    Raises: AtWork while another session holds the origin, Transient, TargetRefused.
    """
    with translated_errors():
        connection.execute("SET session_replication_role = replica")
        # A backend left by a killed applier must not keep the origin while it waits for a lock.
        connection.execute("SET client_connection_check_interval = '1s'")
        try:
            connection.execute("SELECT pg_replication_origin_session_setup(%s)", [origin])
        except psycopg.errors.ObjectInUse as e:
            raise AtWork(f"another process holds origin {origin}: {first_line(e)}") from e


def end_sessions(dsn: str, name: str, side: str) -> None:
    """Of our own role in this database; whoever had them meets a lost connection. Returns when they are gone, or do not
    go. Raises: Transient.
    """
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="banyan-cdc take-over") as ours:
            ours.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = %s AND usename = current_user",
                [GONE_MS, name],
            )
    except psycopg.OperationalError as e:
        raise Transient(f"cannot connect to {side}: {first_line(e)}") from e


@contextmanager
def translated_errors(side: str = "the target") -> Iterator[None]:
    """psycopg's errors that concern the stream as a whole become ours; those about one row pass unchanged."""
    try:
        yield
    except psycopg.Error as e:
        if is_poison(e):
            raise
        raise stream_error(e, side) from e


@contextmanager
def stream_errors() -> Iterator[None]:
    """For where no row can be to blame any more: every database error concerns the stream."""
    try:
        yield
    except psycopg.Error as e:
        raise stream_error(e) from e


def is_poison(error: BaseException) -> bool:
    """Whether one row is to blame, so that its key is parked and the rest goes on."""
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, psycopg.DataError)  # refused by the client, such as NUL in a text
        return error.sqlstate.startswith(POISON)
    return isinstance(error, (ConversionError, RowMissing, UnicodeEncodeError))


def stream_error(error: psycopg.Error, side: str = "the target") -> CdcError:
    state, text = error.sqlstate or "", first_line(error)
    if not state or state.startswith(PASSING):
        return Transient(f"{side}: {text}")
    if state == "BN421":
        return TargetRefused(
            f"the target's guard refuses the applier ({text}): does it pass sessions with a replication origin?"
        )
    if state == "BN424" or (state in SHAPE and side == "the target"):
        return SchemaChanged(f"{text} (SQLSTATE {state})", side="target")
    if state == "42704" and "origin" in text:
        return TargetRefused(f"{text}: run prepare for this stream")
    return TargetRefused(f"{side} refuses the stream: {text} (SQLSTATE {state})")
