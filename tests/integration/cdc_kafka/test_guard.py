"""The guard by itself: whatever order, repetition or gap a log has, each row's versions come once and in their order.

No broker: the log is made up here, as relays that die, go on, repeat and lose would have written it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc import mapping as mappings
from cdc.apply.route import routes
from cdc.apply.session import connect
from cdc.apply.state import install_state
from cdc.change import Change, Column, Relation, Transaction, lsn_text
from cdc.kafka import marks
from cdc.kafka.errors import Moved, Overtaken
from cdc.kafka.guard import Keyed
from cdc.kafka.marks import Mark, Place
from cdc.kafka.sink import Sink
from tests.integration.cdc.toy import MAPPING, SERVICE, execute, one, rows
from tests.integration.cdc_kafka.test_failures import BACKWARDS, NOTED

ITEM = Relation(
    0, "public", "item",
    (Column("id", 20, key=True), Column("code", 25), Column("name", 25), Column("price_cents", 23), Column("note", 25),
     Column("status", 25)),
)  # fmt: skip
AT = datetime(2024, 5, 6, tzinfo=UTC)
PARTITIONS = 2


@pytest.fixture
def target(database: str, tmp_path: Path) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    execute(database, SERVICE + NOTED)
    with psycopg.connect(database, autocommit=True) as owner:
        install_state(owner)
    (tmp_path / "shop.yaml").write_text(MAPPING)
    with connect(database, "test") as session:
        yield database, session


def fresh(dsn: str) -> None:
    execute(dsn, "TRUNCATE product, log, banyan.stream, banyan.kafka_partition, banyan.row_lsn")
    execute(dsn, "INSERT INTO banyan.stream (stream, transport, source_lsn) VALUES ('s', 'kafka', '0/1')")


def sink(session: psycopg.Connection[Any], folder: Path) -> Sink:
    return Sink(session, "s", routes(mappings.load(folder / "shop.yaml"), "forward"))


def history(chance: random.Random, length: int) -> list[Change]:
    """What the source committed, in commit order; transactions that ran side by side have interleaved positions."""
    found: list[Change] = []
    alive: dict[int, int] = {}
    commit, lsn = 100, 10
    for _ in range(length):
        commit += chance.randrange(1, 5) * 10
        tx = Transaction(commit, commit, AT)
        for key in chance.sample(range(6), chance.randrange(1, 4)):
            lsn += chance.randrange(1, 9)
            at = max(lsn, commit - chance.randrange(1, 60))
            if key in alive and chance.random() < 0.3:
                del alive[key]
                found.append(Change("d", tx, at, ITEM, {"id": key}))
                continue
            op = "u" if key in alive else "c"
            alive[key] = len(found) + 1
            row = {"id": key, "code": None, "name": "n", "price_cents": alive[key], "note": None, "status": "A"}
            if op == "u" and chance.random() < 0.3:
                del row["note"]  # unchanged TOAST
            found.append(Change(op, tx, at, ITEM, None, row))
    return found


Record = tuple[str, int, Change]


def log_of(chance: random.Random, changes: list[Change]) -> dict[int, list[Record]]:
    """By partition (session, number, change): sessions begin anywhere in what was acknowledged, and may have a hole."""
    log: dict[int, list[Record]] = defaultdict(list)
    acknowledged, session = 0, 0
    while acknowledged < len(changes):
        session += 1
        begin = chance.randrange(0, acknowledged + 1)
        end = min(len(changes), begin + chance.randrange(1, len(changes)))
        hole = chance.randrange(begin, end) if chance.random() < 0.3 else None
        numbers: dict[int, int] = defaultdict(int)
        for index in range(begin, end):
            partition = key_of(changes[index]) % PARTITIONS
            number = numbers[partition]
            numbers[partition] += 1
            if index != hole:
                log[partition].append((f"s{session}", number, changes[index]))
        acknowledged = max(acknowledged, end if hole is None else begin)
    return log


def key_of(change: Change) -> int:
    row = change.after if change.after is not None else change.before
    assert row is not None
    return int(row["id"])


def test_any_log_gives_each_row_its_versions_once_and_in_order(
    target: tuple[str, psycopg.Connection[Any]], tmp_path: Path
) -> None:
    dsn, session = target
    for seed in range(25):
        chance = random.Random(seed)
        changes = history(chance, 15)
        log = log_of(chance, changes)
        fresh(dsn)
        to = sink(session, tmp_path)
        places = {partition: Place("t", partition) for partition in log}
        known = {place: marks.begin_at(session, "s", place, 0) for place in places.values()}
        while any(known[places[p]].offset < len(log[p]) for p in log):
            batch: list[Keyed] = []
            now: dict[Place, Mark] = {}
            for partition in chance.sample(sorted(log), chance.randrange(1, len(log) + 1)):
                place = places[partition]
                mark = known[place]
                end = min(len(log[partition]), mark.offset + chance.randrange(1, 6))
                for name, number, change in log[partition][mark.offset : end]:
                    if marks.continues(mark, name, number):
                        mark = Mark(0, name, number)
                        batch.append(Keyed("public.item", f'{{"id":{key_of(change)}}}', change))
                now[place] = Mark(end, mark.session, mark.number)
            to.apply(batch, {place: known[place] for place in now}, now, {})
            known.update(now)
            if chance.random() < 0.3:  # the watermark passes what has certainly been applied everywhere
                floor = applied_everywhere(changes, log, known, places)
                execute(dsn, "UPDATE banyan.stream SET source_lsn = greatest(source_lsn, %s)", [lsn_text(floor)])
                to.forget()
        alive: dict[int, int] = {}
        for change in changes:
            if change.after is None:
                alive.pop(key_of(change), None)
            else:
                alive[key_of(change)] = change.after["price_cents"]
        assert dict(rows(dsn, "SELECT id, (price * 100)::int FROM product")) == alive, f"seed {seed}"
        assert one(dsn, BACKWARDS) == 0, f"seed {seed}"


def applied_everywhere(
    changes: list[Change], log: dict[int, list[Record]], known: dict[Place, Mark], places: dict[int, Place]
) -> int:
    """The first commit of which not everything has counted."""
    done: set[int] = set()
    for partition, records in log.items():
        mark = Mark(0)
        for name, number, change in records[: known[places[partition]].offset]:
            if marks.continues(mark, name, number):
                mark = Mark(0, name, number)
                done.add(id(change))
    missing = [change.tx.commit_lsn for change in changes if id(change) not in done]
    return min(missing) if missing else changes[-1].tx.commit_lsn + 1


def test_one_batch_with_a_delete_and_the_replay_of_what_came_before_it_brings_nothing_back(
    target: tuple[str, psycopg.Connection[Any]], tmp_path: Path
) -> None:
    dsn, session = target
    fresh(dsn)
    place = Place("t", 0)
    was = {place: marks.begin_at(session, "s", place, 0)}
    row = {"id": 1, "code": None, "name": "n", "price_cents": 1, "note": None, "status": "A"}
    made = Change("c", Transaction(1, 100, AT), 90, ITEM, None, row)
    gone = Change("d", Transaction(2, 200, AT), 190, ITEM, {"id": 1})
    to = sink(session, tmp_path)
    batch = [Keyed("public.item", "k", change) for change in (made, gone, made)]
    assert to.apply(batch, was, {place: Mark(3, "s2", 0)}, {}) == 2
    again = [Keyed("public.item", "k", gone)]
    assert to.apply(again, {place: Mark(3, "s2", 0)}, {place: Mark(4, "s2", 1)}, {}) == 0
    assert one(dsn, "SELECT count(*) FROM product") == 0


def test_two_consumers_that_hold_the_same_records_apply_them_once(
    target: tuple[str, psycopg.Connection[Any]], tmp_path: Path
) -> None:
    dsn, session = target
    fresh(dsn)
    place = Place("t", 0)
    was = {place: marks.begin_at(session, "s", place, 0)}
    now = {place: Mark(1, "s1", 0)}
    change = history(random.Random(1), 1)[0]
    batch = [Keyed("public.item", "k", change)]
    with connect(dsn, "other") as other:
        late = sink(other, tmp_path)
        assert sink(session, tmp_path).apply(batch, was, now, {}) == 1
        with pytest.raises(Overtaken):
            late.apply(batch, was, now, {})
        late.rollback()
    assert one(dsn, "SELECT count(*) FROM log") == 1


def test_who_still_works_on_a_transport_that_the_stream_has_left_writes_nothing(
    target: tuple[str, psycopg.Connection[Any]], tmp_path: Path
) -> None:
    dsn, session = target
    fresh(dsn)
    place = Place("t", 0)
    was = {place: marks.begin_at(session, "s", place, 0)}
    execute(dsn, "UPDATE banyan.stream SET transport = 'direct'")
    change = history(random.Random(1), 1)[0]
    to = sink(session, tmp_path)
    with pytest.raises(Moved):
        to.apply([Keyed("public.item", "k", change)], was, {place: Mark(1, "s1", 0)}, {})
    to.rollback()
    assert one(dsn, "SELECT count(*) FROM product") == 0
