"""Poison changes: a refused change parks its key, later changes of the key queue behind it, people decide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import psycopg

from cdc.apply.route import key_text
from cdc.change import Change, lsn_text
from cdc.envelope import from_debezium_json, to_debezium_json

# More poison keys than this is no poison but a wrong mapping or a changed schema.
MAX_KEYS = 10_000

Key = tuple[str, str]
"""Source table, and the key as JSON."""


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """One key and what waits for it."""

    table: str
    key: str
    changes: int
    attempts: int
    reason: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedChange:
    id: int
    change: Change


def canonical(table: str, key: tuple[Any, ...]) -> Key:
    return table, key_text(key)


def load_keys(connection: psycopg.Connection[Any], stream: str) -> set[Key]:
    rows = connection.execute('SELECT DISTINCT "table", key FROM banyan.parked WHERE stream = %s', [stream]).fetchall()
    return {(table, key_text(key)) for table, key in rows}


def park(connection: psycopg.Connection[Any], stream: str, key: Key, change: Change, reason: str | None) -> None:
    """`reason` is None for a change that only waits behind an earlier one."""
    connection.execute(
        'INSERT INTO banyan.parked (stream, "table", key, change, lsn, reason, attempts, tried_at)'
        " VALUES (%s, %s, %s, %s, %s, %s, %s, CASE WHEN %s THEN clock_timestamp() END)",
        [
            stream,
            *key,
            to_debezium_json(change).decode(),
            lsn_text(change.lsn),
            reason,
            int(reason is not None),
            reason is not None,
        ],
    )


def clear_table(connection: psycopg.Connection[Any], stream: str, table: str) -> None:
    """A truncate makes what waited for the table's keys void."""
    connection.execute('DELETE FROM banyan.parked WHERE stream = %s AND "table" = %s', [stream, table])


def clear_stream(connection: psycopg.Connection[Any], stream: str) -> None:
    connection.execute("DELETE FROM banyan.parked WHERE stream = %s", [stream])


def queue(connection: psycopg.Connection[Any], stream: str, key: Key) -> list[ParkedChange]:
    rows = connection.execute(
        'SELECT id, change::text FROM banyan.parked WHERE stream = %s AND "table" = %s AND key = %s::jsonb ORDER BY id',
        [stream, *key],
    ).fetchall()
    return [ParkedChange(number, from_debezium_json(text)) for number, text in rows]


def remove(connection: psycopg.Connection[Any], number: int) -> None:
    connection.execute("DELETE FROM banyan.parked WHERE id = %s", [number])


def blame(connection: psycopg.Connection[Any], number: int, reason: str) -> None:
    connection.execute(
        "UPDATE banyan.parked SET reason = %s, attempts = attempts + 1, tried_at = clock_timestamp() WHERE id = %s",
        [reason, number],
    )


def discard(connection: psycopg.Connection[Any], stream: str, key: Key) -> int:
    """Drop the key's changes; verification shows and repairs what the target then lacks."""
    return connection.execute(
        'DELETE FROM banyan.parked WHERE stream = %s AND "table" = %s AND key = %s::jsonb', [stream, *key]
    ).rowcount


def parked_keys(connection: psycopg.Connection[Any], stream: str, limit: int = 1000) -> list[ParkedKey]:
    rows = connection.execute(
        'SELECT "table", key, count(*), max(attempts), (array_agg(reason ORDER BY id))[1], min(parked_at)'
        ' FROM banyan.parked WHERE stream = %s GROUP BY "table", key ORDER BY min(id) LIMIT %s',
        [stream, limit],
    ).fetchall()
    return [
        ParkedKey(table, orjson.dumps(key).decode(), count, attempts, reason or "", at)
        for table, key, count, attempts, reason, at in rows
    ]
