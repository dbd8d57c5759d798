"""Which transport a stream is on, and which it shall be moved to. Apart, since the client library is slow to import and
streams that are direct do without it.
"""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.change import lsn_number, lsn_text
from cdc.errors import ConfigError, NotPrepared
from cdc.kafka.settings import Settings, Transport

# How often the wish to move is looked at by who runs a stream, seconds.
LOOK = 0.3
# Notified in the target with a stream's name when it has moved.
MOVED = "banyan_moved"


def stand(connection: psycopg.Connection[Any], stream: str) -> tuple[Transport, Transport | None, int | None]:
    """(transport, where it shall move to, position). Raises: NotPrepared."""
    try:
        row = connection.execute(
            "SELECT transport, move_to, source_lsn FROM banyan.stream WHERE stream = %s", [stream]
        ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName):
        row = None
    if row is None:
        raise NotPrepared(f"stream {stream} is not prepared in the target (or by an older version): run prepare")
    return row[0], row[1], lsn_number(row[2]) if row[2] else None


def judge(connection: psycopg.Connection[Any], stream: str, settings: Settings | None, to: Transport) -> str:
    """Whether the stream can be moved, and in words from where. Raises: NotPrepared, ConfigError."""
    transport, _, lsn = stand(connection, stream)
    if to == "kafka" and settings is None:
        raise ConfigError(f"stream {stream} has no `kafka` settings: give its domain `kafka` in the plan, then compile")
    if lsn is None:
        raise NotPrepared(f"stream {stream} has no position yet: let its first fill end, then move it")
    if transport == to:
        return f"{stream} comes through {to} already, from {lsn_text(lsn)}"
    return f"{stream} comes through {transport}, now at {lsn_text(lsn)}, and would go on through {to}"


def ask(connection: psycopg.Connection[Any], stream: str, settings: Settings | None, to: Transport) -> bool:
    """False when it is there already. Raises: NotPrepared, ConfigError."""
    judge(connection, stream, settings, to)
    there = stand(connection, stream)[0] == to
    query = "UPDATE banyan.stream SET move_to = %s WHERE stream = %s"
    connection.execute(query, [None if there else to, stream])
    return not there
