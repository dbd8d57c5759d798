"""How far each partition has been applied: kept in the target, moved in the transaction that applies, compared first.

Whose records count is decided here too (guard.py, 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import psycopg

from cdc.kafka.errors import Overtaken

MOVE = """
UPDATE banyan.kafka_partition p
SET next_offset = n.next_offset, session = n.session, number = n.number, rows = p.rows + n.rows
FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[])
    AS n(topic, "partition", was, next_offset, session, number, rows)
WHERE p.stream = %s AND p.topic = n.topic AND p."partition" = n."partition" AND p.next_offset = n.was
"""

# Hexadecimal digits of a session's time, with which its name begins.
DIGITS = 12


class Place(NamedTuple):
    topic: str
    partition: int


class Mark(msgspec.Struct, frozen=True, gc=False):
    """`offset` is the first that is not applied; `session` and `number` are of the last record that counted."""

    offset: int
    session: str = ""
    number: int = -1


def continues(mark: Mark, session: str, number: int) -> bool:
    """Whether a relay's record counts: the next of its session, or the first of a newer one (`session_name`)."""
    if session == mark.session:
        return number == mark.number + 1
    return number == 0 and (len(session), session) > (len(mark.session), mark.session)


def session_name(before: str, millis: int, chance: str) -> str:
    """A session's name: greater than that of the one before, whatever the clock says. `chance`: 4 characters."""
    last = int(before[:DIGITS], 16) if len(before) == DIGITS + 4 else 0
    return f"{max(millis, last + 1):0{DIGITS}x}{chance}"


def load(connection: psycopg.Connection[Any], stream: str) -> dict[Place, Mark]:
    rows = connection.execute(
        'SELECT topic, "partition", next_offset, session, number FROM banyan.kafka_partition WHERE stream = %s',
        [stream],
    ).fetchall()
    return {Place(topic, partition): Mark(*rest) for topic, partition, *rest in rows}


def begin_at(connection: psycopg.Connection[Any], stream: str, place: Place, offset: int) -> Mark:
    """A partition that nobody has read yet; if somebody has meanwhile, where that one is."""
    row = connection.execute(
        'INSERT INTO banyan.kafka_partition (stream, topic, "partition", next_offset) VALUES (%s, %s, %s, %s)'
        ' ON CONFLICT (stream, topic, "partition") DO UPDATE SET next_offset = banyan.kafka_partition.next_offset'
        " RETURNING next_offset, session, number",
        [stream, *place, offset],
    ).fetchone()
    assert row is not None
    return Mark(*row)


def topic_id(connection: psycopg.Connection[Any], stream: str, topic: str) -> str:
    """Kafka's id of the topic whose places are kept; empty where none is known."""
    row = connection.execute(
        "SELECT max(topic_id) FROM banyan.kafka_partition WHERE stream = %s AND topic = %s", [stream, topic]
    ).fetchone()
    return (row[0] or "") if row is not None else ""


def note_topic(connection: psycopg.Connection[Any], stream: str, topic: str, number: str) -> None:
    connection.execute(
        "UPDATE banyan.kafka_partition SET topic_id = %s WHERE stream = %s AND topic = %s", [number, stream, topic]
    )


def move(
    connection: psycopg.Connection[Any],
    stream: str,
    was: Mapping[Place, Mark],
    now: Mapping[Place, Mark],
    rows: Mapping[Place, int],
) -> psycopg.Cursor[Any]:
    """First thing in the transaction that applies: it also keeps a second consumer out until the end. May be sent in a
    pipeline; whether it has moved all of them is for `require_moved` to say.
    """
    places = sorted(now)
    columns: list[list[Any]] = [
        [p.topic for p in places],
        [p.partition for p in places],
        [was[p].offset for p in places],
        [now[p].offset for p in places],
        [now[p].session for p in places],
        [now[p].number for p in places],
        [rows.get(p, 0) for p in places],
    ]
    return connection.execute(MOVE, [*columns, stream])


def require_moved(done: psycopg.Cursor[Any], stream: str, places: int) -> None:
    """Raises: Overtaken when a partition was no longer where the records in hand began."""
    if done.rowcount != places:
        raise Overtaken(f"stream {stream}: another consumer has applied what was in hand")


def restart(connection: psycopg.Connection[Any], stream: str, ends: Mapping[Place, int]) -> None:
    """Forget what was read so far: everything below `ends` is of no account. Inside the caller's transaction."""
    for table in ("kafka_partition", "row_lsn"):
        connection.execute(f"DELETE FROM banyan.{table} WHERE stream = %s", [stream])  # noqa: S608  two names of ours
    rows: Iterable[tuple[str, str, int, int]] = [(stream, *place, end) for place, end in sorted(ends.items())]
    with connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO banyan.kafka_partition (stream, topic, "partition", next_offset) VALUES (%s, %s, %s, %s)', rows
        )
