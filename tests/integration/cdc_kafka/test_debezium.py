"""The same workload captured by us and by the real Debezium engine gives equal events, and equal targets."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from kafka.admin import NewTopic
from psycopg.conninfo import conninfo_to_dict

from banyan.servers.kafka import Kafka
from cdc import mapping as mappings
from cdc import streams
from cdc.apply.applier import Applier
from cdc.apply.operations import split
from cdc.apply.route import Routes, routes
from cdc.apply.session import become_applier, connect
from cdc.capture.buffer import Buffer
from cdc.capture.reader import Reader
from cdc.capture.replication import ReplicationStream
from cdc.capture.replication import connect as connect_replication
from cdc.change import Boundary, Change, lsn_number
from cdc.debezium_modes import Modes
from cdc.envelope import from_debezium_json, to_debezium_json
from cdc.kafka import client
from cdc.kafka.settings import Settings
from cdc.kafka.topics import Topics, ensure
from load.debezium import properties
from tests.fixtures.kafka import require_debezium
from tests.integration.cdc.toy import LEGACY, MAPPING, SERVICE, Shop, execute, one, rows, until

pytestmark = pytest.mark.long  # a JVM of its own

MAPPED = ["public.item", "public.everything"]
TABLES = [*MAPPED, "public.bits"]
MODES = [
    Modes("precise", "adaptive"),
    Modes("string", "isostring"),
    Modes("double", "connect"),
    Modes("string", "microseconds"),
    Modes("string", "nanoseconds"),
    Modes("string", "adaptive_time_microseconds"),
]
WORKLOAD = [
    """INSERT INTO everything VALUES
    (1, true, 1, 2, 3, 1.5, 0.1, 12345678901234567890.123, 1.10, E'a\\n"b', '', 'ab', '\\x00ff',
     '2024-03-31 02:30:00.5', '2024-03-31 02:30+02', '2024-02-29', '23:59:59.999999',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
     '{"a": 1.10}', '[1, null]', '{1,NULL}', '{"a,b",NULL}', '{1.50,2}', '1 day 02:00:00', '10.0.0.1/8'),
    (2, NULL, NULL, NULL, NULL, 'NaN', '-Infinity', NULL, NULL, '__', NULL, NULL, NULL, '1999-12-31 23:59:59.123456',
     '-infinity', NULL, NULL, NULL, NULL, NULL, '{}', NULL, NULL, NULL, NULL),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, 0, -0.01, '', NULL, NULL, NULL, '1970-01-01 00:00:00',
     '1883-01-01 00:00:00.000001+00', '1600-01-01', '00:00:00', NULL, NULL, '"text"', NULL, NULL, NULL, NULL, NULL)""",
    "INSERT INTO bits VALUES (1, '1010', '2024-01-01 01:02:03.456', '01:02:03.456')",
    "INSERT INTO item SELECT n, 'c' || n, 'n', n, repeat('x', 9000) FROM generate_series(1, 3) n",
    "UPDATE item SET price_cents = 5 WHERE id = 1",
    "UPDATE item SET id = 10, note = 'new' WHERE id = 2",
    "DELETE FROM item WHERE id = 3",
    "ALTER TABLE item REPLICA IDENTITY FULL",
    "UPDATE item SET price_cents = 6 WHERE id = 1",
    "DELETE FROM item WHERE id = 1",
    """SELECT pg_logical_emit_message(true, 'banyan.fence', '{"domain": "shop", "wave": 0, "epoch": 7}')""",
    "TRUNCATE item",
]

# What may differ, and why. Everything else is compared literally.
DIFFERENT_SOURCE = {
    "version": "names the software",
    "name": "each engine has a topic prefix of its own",
    "sequence": "its first part: Debezium says where the last transaction was committed, we say where this one is",
}
DIFFERENT_PAYLOAD = {
    "ts_ms": "when the event was processed",
    "ts_us": "when the event was processed",
    "ts_ns": "when the event was processed",
}
DIFFERENT_COLUMNS = {
    "iv": "an interval is text with us; Debezium counts microseconds, a month as 30.4375 days",
    "js": "JSON is written anew, so its white space and the zeros at the end of its numbers go",
    "jb": "JSON is written anew, so its white space and the zeros at the end of its numbers go",
    "tn": "in arrays, Debezium's precise decimals lose the zeros at their end",
    "b4": "Debezium's Bits are bytes, lowest first; ours are PostgreSQL's text",
}
# `before` of a table whose identity is its key: Debezium fills columns that are NOT NULL with defaults, which were
# never there; ours are null. Only the key is compared.


EVERYTHING = (
    "SELECT to_jsonb(e) - 'js' - 'iv' - 'f8' || jsonb_build_object('f8', f8::text) FROM everything e ORDER BY id"
)


@dataclass(frozen=True)
class Debezium:
    """Events of one engine, tombstones left out."""

    modes: Modes
    topics: list[str]
    keys: list[Any]
    values: list[str]
    tombstones: int


@dataclass(frozen=True)
class Both:
    ours: list[Change]
    debezium: list[Debezium]
    source: str


@pytest.fixture(scope="module")
def captured(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """One workload, captured by us and by engines in every mode, all from slots of before it."""
    require_debezium()
    from tests.fixtures.servers import create_database

    folder = tmp_path_factory.mktemp("debezium")
    dsn = create_database(postgres)
    execute(dsn, LEGACY)
    execute(dsn, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    execute(dsn, "CREATE TABLE bits (id bigint PRIMARY KEY, b4 bit(4), t3 timestamp(3), m3 time(3))")
    execute(dsn, f"CREATE PUBLICATION differ FOR TABLE {', '.join(TABLES)}")
    slots = ["differ_ours", *(f"differ_{number}" for number in range(len(MODES)))]
    engines = []
    for slot, modes in zip(slots[1:], MODES, strict=True):
        chosen = {
            "decimal.handling.mode": modes.decimal, "time.precision.mode": modes.time, "skipped.operations": "none",
            "column.propagate.source.type": ".*", "include.unknown.datatypes": "true",
        }  # fmt: skip
        given = properties(conninfo_to_dict(dsn), slot, "differ", TABLES, folder)
        engines.append({"properties": {**given, **chosen}, "out": str(folder / f"{slot}.jsonl")})
    for slot in slots:
        execute(dsn, "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    (folder / "engines.json").write_text(json.dumps(engines))
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "load.debezium", str(folder / "engines.json"), "-XX:TieredStopAtLevel=1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, cwd=folder)
    try:
        active = "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name LIKE 'differ%%'"
        until(lambda: one(dsn, active) == len(MODES) or process.poll() is not None, "the engines to stream", 90)
        for statement in WORKLOAD:
            execute(dsn, statement)
        truncated = [Path(engine["out"]) for engine in engines]
        done = lambda: all(file.exists() and '\\"op\\":\\"t\\"' in file.read_text() for file in truncated)  # noqa: E731
        until(lambda: done() or process.poll() is not None, "the engines to come to the end", 60)
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        yield Both(ours(dsn), [events(file, modes) for file, modes in zip(truncated, MODES, strict=True)], dsn)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for slot in slots:
            until(
                lambda slot=slot: one(dsn, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = %s", [slot]),
                slot,
            )
            execute(dsn, "SELECT pg_drop_replication_slot(%s)", [slot])


def events(file: Path, modes: Modes) -> Debezium:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    kept = [line for line in lines if line["value"] is not None]
    keys = [json.loads(line["key"])["payload"] if line["key"] else None for line in kept]
    topics = [line["topic"].partition(".")[2] for line in kept]
    return Debezium(modes, topics, keys, [line["value"] for line in kept], len(lines) - len(kept))


def ours(dsn: str) -> list[Change]:
    """Our capture of the same WAL; a changed key in two parts, as Debezium writes it."""
    lsn = lsn_number(
        one(dsn, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'differ_ours'")
    )
    buffer = Buffer()
    reader = Reader(ReplicationStream(connect_replication(dsn, "test"), "differ_ours", ["differ"], lsn), buffer, "test")
    reader.start()
    found: list[Change] = []
    to = domain(dsn).by_source

    def ended() -> bool:
        for event in buffer.take(0.1)[0]:
            if isinstance(event, Change):
                route = to.get(event.relation.name) if event.relation else None
                found.extend(split(event, route) if route else [event])
        return bool(found) and found[-1].op == "t"

    until(ended, "our capture to come to the end")
    reader.stop()
    reader.join(5)
    return found


def domain(dsn: str) -> Routes:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"differ-{os.getpid()}.yaml"
    path.write_text(MAPPING)
    try:
        return routes(mappings.load(path), "forward")
    finally:
        path.unlink()


def test_the_events_are_equal_field_by_field(captured: Both) -> None:
    theirs = captured.debezium[0]
    assert len(captured.ours) == len(theirs.values)
    for change, text, topic in zip(captured.ours, theirs.values, theirs.topics, strict=True):
        event = json.loads(text)["payload"]
        mine = json.loads(
            to_debezium_json(change, "x", one(captured.source, "SELECT current_database()"), schemas=False)
        )
        expected_topic = change.relation.name if change.relation else "message"
        assert topic == expected_topic
        assert {k: v for k, v in mine["source"].items() if k not in DIFFERENT_SOURCE} == {
            k: v for k, v in event["source"].items() if k not in DIFFERENT_SOURCE
        }
        assert json.loads(mine["source"]["sequence"])[1] == json.loads(event["source"]["sequence"])[1]
        for field in mine.keys() - DIFFERENT_PAYLOAD.keys() - {"source", "before", "after"}:
            assert mine[field] == event[field], field
        assert comparable(mine["after"]) == comparable(event.get("after"))
        if change.relation is not None and change.relation.identity == "f":
            assert comparable(mine["before"]) == comparable(event["before"])
        elif change.before is not None:
            assert {k: mine["before"][k] for k in change.before} == {k: event["before"][k] for k in change.before}


def comparable(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {k: v for k, v in row.items() if k not in DIFFERENT_COLUMNS}


def test_the_schemas_name_the_same_types(captured: Both) -> None:
    for change, text in zip(captured.ours, captured.debezium[0].values, strict=True):
        if change.op != "c":
            continue
        theirs = {f["field"]: f for f in json.loads(text)["schema"]["fields"][1]["fields"]}
        mine = {f["field"]: f for f in json.loads(to_debezium_json(change))["schema"]["fields"][1]["fields"]}
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - DIFFERENT_COLUMNS.keys():
            if (change.after or {}).get(name) is not None and str((change.after or {})[name]) not in ("nan", "-inf"):
                assert (mine[name]["type"], mine[name].get("name")) == (theirs[name]["type"], theirs[name].get("name"))
                assert (
                    mine[name]["parameters"]["__debezium.source.column.type"]
                    == theirs[name]["parameters"]["__debezium.source.column.type"]
                )


@pytest.mark.parametrize("number", range(len(MODES)), ids=lambda n: f"{MODES[n].decimal}-{MODES[n].time}")
def test_values_written_in_any_mode_are_read_as_what_they_were(captured: Both, number: int) -> None:
    theirs = captured.debezium[number]
    for change, text in zip(captured.ours, theirs.values, strict=True):
        read = from_debezium_json(text)
        assert (read.op, read.lsn, read.tx.xid, read.message) == (change.op, change.lsn, change.tx.xid, change.message)
        if change.after is None:
            assert read.after is None
            continue
        assert read.after is not None
        assert read.after.keys() == change.after.keys()  # an unknown value is absent in both
        for name, value in change.after.items():
            if name != "iv":
                assert said(read.after[name]) == said(lossy(value, theirs.modes)), name


def lossy(value: Any, modes: Modes) -> Any:
    """What the mode leaves of a value."""
    if isinstance(value, list):
        return [lossy(item, modes) for item in value]
    if isinstance(value, Decimal) and modes.decimal == "double":
        return Decimal(str(float(value)))
    if isinstance(value, (datetime, time)) and modes.time == "connect" and getattr(value, "tzinfo", None) is None:
        return value.replace(microsecond=value.microsecond // 1000 * 1000)
    return value


def said(value: Any) -> Any:
    """Equal values, also NaN; zeros at the end of a decimal say nothing."""
    if isinstance(value, list):
        return [said(item) for item in value]
    return repr(value.normalize()) if isinstance(value, Decimal) and value.is_finite() else repr(value)


def test_the_applier_fed_by_either_gives_the_same_target(captured: Both, new_database: Any) -> None:
    targets = []
    for number, changes in enumerate(
        [captured.ours, *([from_debezium_json(text) for text in captured.debezium[n].values] for n in (0, 1))]
    ):
        target = new_database()
        execute(target, SERVICE + "CREATE TABLE bits (id bigint PRIMARY KEY);")
        feed(target, f"differ_{number}", changes[:-1])  # without the truncate, to have something to compare
        targets.append(target)
    for query in ("SELECT * FROM product ORDER BY id", EVERYTHING):
        first, *others = (rows(target, query) for target in targets)
        assert first
        assert all(found == first for found in others)


def test_a_stream_whose_topics_debezium_writes_is_applied_and_has_watermarks_and_fences(
    captured: Both, kafka: Kafka, service_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's events as its connector would have put them into Kafka, its slot's position moved as it would."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    settings = Settings(prefix=f"debezium.{secrets.token_hex(3)}", partitions=3, capture="debezium")
    execute(service_database, SERVICE)
    number = 200_000 + secrets.randbelow(100_000)
    transport = {"transport": "kafka", "kafka": settings}
    shop = Shop(captured.source, service_database, tmp_path, number, transport=transport)
    stream = msgspec.structs.replace(shop.stream("forward"), snapshot=False)
    shop.prepared.append(stream)
    streams.prepare(stream, shop.legacy, shop.service)
    execute(shop.service, "UPDATE banyan.stream SET source_lsn = '0/1'")  # as if it had been made before the workload
    theirs = captured.debezium[MODES.index(Modes("string", "microseconds"))]
    publish(settings, theirs)
    running = shop.start(stream)
    until(lambda: one(shop.service, "SELECT count(*) FROM everything") == 3 or running.error, "the rows to arrive")
    assert one(shop.service, "SELECT source_lsn FROM banyan.stream") == "0/1"  # nobody has said yet how far they are
    advanced = "SELECT end_lsn::text FROM pg_replication_slot_advance(%s, pg_current_wal_lsn())"
    lsn = one(shop.legacy, advanced, [stream.slot])
    passed = "SELECT source_lsn >= %s::pg_lsn FROM banyan.stream"
    until(lambda: one(shop.service, passed, [lsn]) or running.error, "the watermark")
    assert running.error is None
    assert one(shop.service, "SELECT epoch FROM banyan.fence_applied") == 7
    assert rows(shop.service, EVERYTHING) == rows(shop.legacy, EVERYTHING)
    assert rows(shop.service, "SELECT id, code, note FROM product") == [(10, "c2", "new")]
    shop.close()


def publish(settings: Settings, events: Debezium) -> None:
    topics = Topics(settings.prefix, settings.partitions)
    with client.admin(settings, "test") as admin:
        ensure(admin, topics, [*MAPPED, "public.kind"], settings)
        admin.create_topics([NewTopic(f"{settings.prefix}.message", 1, 1)])
    producer = client.producer(settings, "test")
    for topic, key, value in zip(events.topics, events.keys, events.values, strict=True):
        if topic == "message":
            producer.send(f"{settings.prefix}.message", value.encode(), partition=0)
        elif topic in MAPPED and key is not None:  # a truncate has no key, and the registration skips it
            name = json.dumps(key, separators=(",", ":")).encode()
            producer.send(topics.of(topic), value.encode(), name, partition=topics.partition(name))
    producer.flush(timeout=20)
    producer.close()


def feed(target: str, name: str, changes: list[Change]) -> None:
    from cdc.apply.state import install_state

    with psycopg.connect(target, autocommit=True) as owner:
        install_state(owner)
        owner.execute("INSERT INTO banyan.stream (stream, source_lsn) VALUES (%s, '0/1')", [name])
        owner.execute("SELECT pg_replication_origin_create(%s)", [name])
    with connect(target, "test") as session:
        become_applier(session, name)
        applier = Applier(session, name, domain(target))
        for change in changes:
            applier.feed([change, Boundary(change.lsn, change.tx.commit_at)])
        applier.settle()
    execute(target, "SELECT pg_replication_origin_drop(%s)", [name])
