"""The per-row guard of streams that come through Kafka: no replay, duplicate or reorder takes a row back or revives it.

Every change has an order, (position of its commit record, its own position): source changes of one row have growing
orders, and a change that is sent again has the order it had. A row's guard (banyan.row_lsn) holds the order of the
newest change that the row has seen, a delete's too (its tombstone). A change is admitted only if its order is greater.

Why that suffices:

1. **What the log holds.** A relay session starts where the last control record ends (control.py) and sends what the
   slot gives, which is the same every time. Its records are numbered in each partition; where a number is missing (a
   send that failed for good while a later one got through) or a newer session has begun, the rest of the session does
   not count (`marks.continues`). So in each partition the records that count are runs of one canonical sequence, and
   each run begins within what came before it. A change is new, or it was there before, with everything before it.
2. **A replay** (relay killed after sending, before its control record) brings changes that were there before. Their
   orders are not greater than the guard: not admitted. In particular no insert after the delete, and no half (TOAST)
   update whose other half was skipped.
3. **A re-read** (consumer killed, rebalance, a consumer that thinks it still has a partition) cannot happen: the
   partition's offset moves in the transaction that applies the records, and only from where they began (`marks.move`).
   Two consumers with the same records: the second waits for the first's row lock, finds the offset moved, and rolls
   back.
4. **A reorder** of two changes of one key needs them in two partitions; the partitioner is a fixed function of the key
   and a topic keeps its number of partitions. Should someone change it all the same, the later change wins: claims of
   one key wait for each other (the guard's row), and an older order than the guard's is not admitted.
5. **Forgetting.** When the watermark W has passed, all changes committed before W have been seen in every partition, so
   what comes with a commit before W can only be a repetition: not admitted without asking any row (the floor). Guards
   before W are then worth nothing and are deleted. They are deleted while nobody is between reading the floor and
   committing (`begin`, `forget`: an advisory lock, since that queues fairly; a row's FOR SHARE would starve who
   forgets).
6. **A parked change** has been seen: its guard stands, and it waits in its key's queue, once.
7. **Truncates** have a guard of their own (an empty key), so a repeated one does not empty the table again.

Where Debezium captures (marker.py), a change says where the transaction before its own was committed. Orders grow all
the same, but the floor cannot judge it; nor need it: a connector goes on where its slot was confirmed, which is where
the watermark comes from.

Everything is one transaction with the rows themselves, so a crash between is no case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import md5
from typing import Any, NamedTuple

import orjson
import psycopg

from cdc.change import Change, lsn_number
from cdc.errors import NotPrepared
from cdc.kafka import marks
from cdc.kafka.errors import Moved
from cdc.kafka.marks import Mark, Place

# A batch may hold several changes of a key; the claim is of the newest, and returns what the row had seen before.
# Sorted by key, so that two consumers never wait for each other.
CLAIM = """
WITH claimed AS (
    INSERT INTO banyan.row_lsn AS r (stream, "table", key, commit_lsn, lsn, deleted)
    SELECT %s, w.t, w.k, w.c, w.l, w.d
    FROM ROWS FROM (
        json_array_elements_text(%s::json), json_array_elements_text(%s::json),
        unnest(%s::bigint[]), unnest(%s::bigint[]), unnest(%s::bool[])
    ) AS w(t, k, c, l, d)
    ON CONFLICT (stream, "table", key) DO UPDATE
    SET before_commit = r.commit_lsn, before_lsn = r.lsn,
        commit_lsn = excluded.commit_lsn, lsn = excluded.lsn, deleted = excluded.deleted
    WHERE (r.commit_lsn, r.lsn) < (excluded.commit_lsn, excluded.lsn)
    RETURNING r."table" AS t, r.key AS k, r.before_commit AS c, r.before_lsn AS l
), told AS (SELECT count(*) AS n, coalesce(max(c), 0) AS newest FROM claimed)
SELECT n, newest, CASE WHEN n < %s OR newest >= %s THEN (SELECT json_agg(json_build_array(t, k, c, l)) FROM claimed) END
FROM told
"""

FLOOR = "SELECT source_lsn, transport FROM banyan.stream WHERE stream = %s"
FORGET = "DELETE FROM banyan.row_lsn WHERE stream = %s AND commit_lsn < %s"


class Keyed(NamedTuple):
    """A change with its row's name in the guard: the source's table and the record's key."""

    table: str
    key: str
    change: Change


def begin(stream: str) -> str:
    """Opens a transaction that reads the floor: nobody forgets guards until it ends."""
    return f"BEGIN; SELECT pg_advisory_xact_lock_shared({_lock(stream)})"


def begin_alone(stream: str) -> str:
    """Opens a transaction while no other of the stream's is open, and until it ends."""
    return f"BEGIN; SELECT pg_advisory_xact_lock({_lock(stream)})"


def open_at(
    connection: psycopg.Connection[Any],
    stream: str,
    was: Mapping[Place, Mark],
    now: Mapping[Place, Mark],
    rows: Mapping[Place, int],
) -> int:
    """Opens a transaction, moves the places first of all, and returns the floor; in one round trip.

    Raises: Overtaken, NotPrepared, Moved.
    """
    with connection.pipeline():
        for statement in begin(stream).split("; "):
            connection.execute(statement)
        moved = marks.move(connection, stream, was, now, rows)
        found = connection.execute(FLOOR, [stream])
    marks.require_moved(moved, stream, len(now))
    return _floor(found.fetchone(), stream)


def floor(connection: psycopg.Connection[Any], stream: str) -> int:
    """Everything that the source committed before it has been applied. Raises: NotPrepared, Moved."""
    return _floor(connection.execute(FLOOR, [stream]).fetchone(), stream)


def _floor(row: tuple[Any, ...] | None, stream: str) -> int:
    if row is None or row[0] is None:
        raise NotPrepared(f"stream {stream} has no position in the target: run prepare")
    if row[1] != "kafka":
        raise Moved(f"stream {stream} does not come through Kafka any more")
    return lsn_number(row[0])


def forget(connection: psycopg.Connection[Any], stream: str) -> int:
    """Delete the guards of before the floor, in a transaction of its own; returns how many."""
    connection.execute(begin_alone(stream))
    gone = connection.execute(FORGET, [stream, floor(connection, stream)]).rowcount
    connection.execute("COMMIT")
    return gone


def _lock(stream: str) -> int:
    return int.from_bytes(
        md5(f"banyan.row_lsn {stream}".encode(), usedforsecurity=False).digest()[:8], "big", signed=True
    )


def admit(connection: psycopg.Connection[Any], stream: str, since: int, changes: Sequence[Keyed]) -> list[Change]:
    """Those changes that their rows have not seen, in order; from now on they have, once the transaction commits.

    `since` is the floor, read in this transaction.
    """
    fresh: list[Keyed] = []
    newest: dict[tuple[str, str], Change] = {}
    for one in changes:
        table, key, change = one
        if change.tx.commit_lsn < since:
            continue
        seen = newest.get((table, key))
        if seen is None or _order(seen) < _order(change):  # a batch may hold a change and its repetition
            newest[table, key] = change
            fresh.append(one)
    if not fresh:
        return []
    least = min(one.change.tx.commit_lsn for one in fresh)
    rows = sorted(newest.items())
    # As texts that are made here: psycopg quotes an array's values one by one, which takes longer than all the rest.
    arrays = [
        orjson.dumps([table for (table, _), _ in rows]).decode(),
        orjson.dumps([key for (_, key), _ in rows]).decode(),
        _array(str(change.tx.commit_lsn) for _, change in rows),
        _array(str(change.lsn) for _, change in rows),
        _array("t" if change.op == "d" else "f" for _, change in rows),
    ]
    row = connection.execute(CLAIM, [stream, *arrays, len(rows), least]).fetchone()
    assert row is not None
    if row[0] == len(rows) and row[1] < least:  # nothing was seen before: by far the most frequent
        return [one.change for one in fresh]
    before = {(table, key): (commit, lsn) for table, key, commit, lsn in row[2] or ()}
    return [change for table, key, change in fresh if _newer(change, before.get((table, key)))]


def _array(values: Iterable[str]) -> str:
    return "{" + ",".join(values) + "}"


def _order(change: Change) -> tuple[int, int]:
    return change.tx.commit_lsn, change.lsn


def _newer(change: Change, seen: tuple[int, int] | None) -> bool:
    """`seen` is None where the row has seen a newer change than the batch's newest."""
    return seen is not None and _order(change) > seen
