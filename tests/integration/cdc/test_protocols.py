"""The same WAL through every version of the protocol, streamed or not, as text or binary: the same changes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from cdc.capture import slot as slots
from cdc.capture.assemble import Assembler
from cdc.capture.binary import resolver
from cdc.capture.pgoutput import Decoder
from cdc.capture.raw import Captured, as_event
from cdc.capture.replication import ReplicationStream, WalData, connect
from cdc.capture.streamed import Streamed
from cdc.change import Boundary, Change
from tests.integration.cdc.toy import execute

TABLES = """
CREATE TABLE thing (id bigint PRIMARY KEY, name text, body text, n numeric, at timestamptz);
ALTER TABLE thing ALTER body SET STORAGE EXTERNAL;
CREATE TABLE whole (a int, b text); ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE by_index (a int, code text NOT NULL UNIQUE, b text);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
CREATE TABLE nothing (a int); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE PUBLICATION capture FOR TABLE thing, whole, by_index WITH (publish = 'insert, update, delete, truncate');
CREATE PUBLICATION inserts FOR TABLE nothing WITH (publish = 'insert');
"""
WORK = """
INSERT INTO thing SELECT n, 'n' || n, repeat('x', 3000), n / 8.0, '2024-01-01+00' FROM generate_series(1, 60) n;
UPDATE thing SET name = 'patched' WHERE id = 1;
UPDATE thing SET id = 1000, name = 'moved' WHERE id = 2;
UPDATE thing SET body = NULL, n = 'Infinity' WHERE id = 3;
DELETE FROM thing WHERE id = 4;
INSERT INTO whole VALUES (1, 'x'), (2, NULL);
UPDATE whole SET b = 'y' WHERE a = 1;
DELETE FROM whole WHERE a = 2;
INSERT INTO by_index VALUES (1, 'a', 'x'), (2, 'b', 'x');
UPDATE by_index SET code = 'c' WHERE a = 1;
DELETE FROM by_index WHERE a = 2;
INSERT INTO nothing VALUES (1);
SELECT pg_logical_emit_message(true, 'test', 'inside');
SAVEPOINT part;
INSERT INTO thing SELECT n, 'rolled back', repeat('y', 3000), 0, now() FROM generate_series(2001, 2060) n;
ROLLBACK TO part;
TRUNCATE whole, by_index;
"""


@pytest.fixture
def source(database: str) -> Iterator[str]:
    execute(database, TABLES)
    with psycopg.connect(database, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET logical_decoding_work_mem = '64kB'".encode())
        slots.create(connection, f"slot_{name}")
    yield database
    with psycopg.connect(database, autocommit=True) as connection:
        slots.drop(connection, f"slot_{name}")


def capture(dsn: str, commits: int, streaming: bool, binary: bool) -> tuple[list[Captured], int]:
    """Everything from the slot's position on, which stays where it is; and how many transactions were streamed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = f"slot_{connection.info.dbname}"
        found = slots.find(connection, name)
        known = resolver(connection, "capture") if binary else None
    assert found is not None
    stream = ReplicationStream(
        connect(dsn, "test"), name, ["capture", "inserts"], found.confirmed_lsn, streaming=streaming, binary=binary
    )
    decoder, assembler, streamed, out, blocks = Decoder(known), Assembler(), Streamed(), [], 0
    deadline = time.monotonic() + 20
    try:
        while sum(isinstance(event, Boundary) for event in out) < commits:
            assert time.monotonic() < deadline, out
            for item in stream.read()[0]:
                if not isinstance(item, WalData):
                    continue
                messages = [(item.lsn, item.data)]
                ended = None
                if streamed.takes(item.data):
                    ended = streamed.feed(item.lsn, item.data)
                    messages = list(ended.messages()) if ended is not None else []
                    blocks += ended is not None
                if ended is not None:
                    assembler.feed(0, ended.begin, out)
                for lsn, data in messages:
                    row = decoder.raw(data, assembler.tx, lsn)
                    if row is not None:
                        out.append(row.change())
                    else:
                        assembler.feed(lsn, decoder.decode(data), out)
                if ended is not None:
                    assembler.feed(0, ended.commit, out)
            stream.wait(0.05)
    finally:
        stream.close()
    return out, blocks


def shape(event: Captured) -> object:
    """An event without what the server may choose: where in the log a message was written."""
    event = as_event(event)
    if isinstance(event, Boundary):
        return event
    relation = None if event.relation is None else (event.relation.name, event.relation.columns)
    return event.op, event.tx, event.lsn, relation, event.before, event.after, event.message


def test_every_way_to_ask_gives_the_same_changes(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(source) as connection:
        connection.execute(WORK.encode())
    execute(source, "INSERT INTO thing (id) VALUES (5000)")
    expected: list[object] | None = None
    for version in (1, 2, 3, 4):
        monkeypatch.setattr("cdc.capture.options.protocol", lambda _, version=version: version)
        for streaming in (False, True) if version > 1 else (False,):
            for binary in (False, True):
                found, blocks = capture(source, 2, streaming, binary)
                assert blocks == streaming, "the first transaction is large, the second is not"
                shapes = [shape(event) for event in found]
                expected = expected or shapes
                assert shapes == expected, (version, streaming, binary)
    changes = [event for event in found if isinstance(event, Change)]
    assert "".join(c.op for c in changes if c.relation is None or c.relation.table != "thing") == "ccudccudcmtt"
    assert [c.after["id"] for c in changes if c.op == "c" and c.relation.table == "thing"] == [*range(1, 61), 5000]


def test_each_replica_identity_brings_the_old_row_that_it_promises(source: str) -> None:
    with psycopg.connect(source) as connection:
        connection.execute(WORK.encode())
    found, _ = capture(source, 1, streaming=False, binary=False)
    before = {
        table: [(e.op, e.before) for e in found if isinstance(e, Change) and e.relation and e.relation.table == table]
        for table in ("thing", "whole", "by_index", "nothing")
    }
    assert before["thing"][60:] == [("u", None), ("u", {"id": 2}), ("u", None), ("d", {"id": 4})]
    assert before["whole"] == [
        ("c", None), ("c", None), ("u", {"a": 1, "b": "x"}), ("d", {"a": 2, "b": None}), ("t", None)
    ]  # fmt: skip
    assert before["by_index"] == [("c", None), ("c", None), ("u", {"code": "a"}), ("d", {"code": "b"}), ("t", None)]
    assert before["nothing"] == [("c", None)]
