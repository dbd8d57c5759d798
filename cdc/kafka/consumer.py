"""The consumer's half: topics to target. One member of the stream's group; any number of them share the partitions.

A batch is one target transaction over all partitions in hand. Kafka is told the new offsets after its commit, for
people to see; where to go on is the target's word (marks.py). So a rebalance needs no ceremony: what a member has in
hand it either commits before somebody else does, or it finds itself overtaken, rolls back and reads its places again.

The control topic is read by one member only, the process that runs the stream: it has the watermark to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from cdc import interpreter
from cdc.apply.applier import DURABLE_EVERY, Applied
from cdc.apply.route import Routes, key_text
from cdc.errors import EnvelopeError
from cdc.kafka import client, intact, marks
from cdc.kafka.control import Control
from cdc.kafka.ear import Ear
from cdc.kafka.errors import Overtaken
from cdc.kafka.guard import Keyed
from cdc.kafka.marks import Mark, Place
from cdc.kafka.records import Readers, read_header
from cdc.kafka.settings import Settings
from cdc.kafka.sink import Sink
from cdc.kafka.topics import Topics, ensure
from cdc.kafka.waiting import Waiting

# Changes of one target transaction.
BATCH_ROWS = 10_000
# How long one poll lasts before the stop flag is looked at; shorter while a watermark waits for other members, ms.
POLL_MS, WAIT_MS = 200, 5
# Guards are forgotten at most this often, and offsets told to Kafka, seconds.
FORGET_EVERY, COMMIT_EVERY = 0.5, 1.0

log = structlog.get_logger("cdc.kafka.consumer")

Note = Callable[[Applied | None, int, int], None]
"""(watermark if it moved, rows applied, parked keys)."""


@dataclass(slots=True)
class _Batch:
    """What one poll has brought of the tables: changes that count, and by partition where it was, is then, and how many
    changes that is."""

    changes: list[Keyed] = field(default_factory=list)
    was: dict[Place, Mark] = field(default_factory=dict)
    now: dict[Place, Mark] = field(default_factory=dict)
    rows: dict[Place, int] = field(default_factory=dict)


class Consumer:
    """Bound to one applier session; `run` blocks."""

    def __init__(
        self,
        target: psycopg.Connection[Any],
        stream: str,
        settings: Settings,
        routes: Routes,
        note: Note,
        leads: bool = True,
    ) -> None:
        """`leads`: this member reads the control topic too."""
        self._leads = leads
        self._target, self._stream, self._settings, self._routes = target, stream, settings, routes
        self._topics = Topics(settings.prefix, settings.partitions)
        self._control = Place(self._topics.control, 0)
        self._note = note
        self.sink = Sink(target, stream, routes, commits=settings.capture == "relay")
        self._readers = Readers()
        self._marks: dict[Place, Mark] = {}
        self._waiting = Waiting()
        self._late: dict[Place, int] = {}
        self._next_durable = 0.0
        self._ids: dict[str, str] = {}  # of the topics
        self._next_forget = self._next_commit = 0.0
        self._told: dict[Place, int] = {}
        self._forgettable = False

    @property
    def waiting(self) -> bool:
        """Whether control records are in hand that have not been passed, or not been stored."""
        return bool(self._waiting)

    def run(self, stop: Callable[[], bool]) -> None:
        """Raises: Moved, LogLost, Transient, and what concerns the stream as a whole."""
        interpreter.share()
        name = f"{self._stream} apply"
        tables = list(self._routes.by_source)
        with client.translated():
            with client.admin(self._settings, name) as admin:
                self._ids = ensure(admin, self._topics, tables, self._settings)
            with client.consumer(self._settings, name, BATCH_ROWS) as kafka:
                kafka.subscribe([*([self._topics.control] if self._leads else []), *map(self._topics.of, tables)])
                log.info("consuming", stream=self._stream, group=self._settings.group_id)
                ear = Ear(kafka, self._leads)
                while not stop():
                    self._once(kafka, ear)
                self._tell(kafka, now=True)

    def _once(self, kafka: KafkaConsumer, ear: Ear) -> None:
        """Raises: Moved, LogLost, Transient."""
        hurry = ear.has_partitions() and self._waiting.records
        found = ear.poll(WAIT_MS if hurry else POLL_MS, BATCH_ROWS)
        try:
            batch = self._batch(kafka, found)
            if (records := found.get(self._control)) is not None and self._placed(kafka, self._control, records):
                self._waiting.take(self._marks[self._control], records)
            if batch.now and not self._together(kafka, ear, batch):
                self._apply(batch)
            self._advance(kafka, ear)
        except Overtaken as e:
            log.info("overtaken", stream=self._stream, reason=str(e))
            self.sink.rollback()
            self._marks.clear()
            self._waiting.clear()
            self._seek_all(kafka)
            return
        ear.require_heard(self._next_offsets)
        self._look_after(kafka)

    def _batch(self, kafka: KafkaConsumer, found: dict[Place, list[Any]]) -> _Batch:
        batch = _Batch()
        for place, records in found.items():
            if place.topic == self._topics.control or not self._placed(kafka, place, records):
                continue
            before = len(batch.changes)
            batch.was[place] = self._marks[place]
            batch.now[place] = self._read(place, records, batch.was[place], batch.changes)
            batch.rows[place] = len(batch.changes) - before
        if len(batch.now) > 1:  # as near to the source's own order as partitions allow
            batch.changes.sort(key=lambda one: (one.change.tx.commit_lsn, one.change.lsn))
        return batch

    def _apply(self, batch: _Batch) -> None:
        applied = self.sink.apply(batch.changes, batch.was, batch.now, batch.rows)
        self._marks.update(batch.now)
        self._note(None, applied, len(self.sink.writer.parked))

    def _together(self, kafka: KafkaConsumer, ear: Ear, batch: _Batch) -> bool:
        """Rows and the watermark that they make true in one transaction: half the commits. False when that cannot be,
        and nothing was done: there is more to it than a position, or there are others to ask.
        """
        waiting = self._waiting
        if not waiting.records or self.sink.writer.parked or not self._has_all(kafka):
            return False
        reached = waiting.reached(self._marks | batch.now)
        if not reached or any(one.messages or one.truncates for _, one in reached):
            return False
        mark, newest = reached[-1]
        was = batch.was | {self._control: self._marks[self._control]}
        done = self.sink.apply_and_advance(batch.changes, was, batch.now | {self._control: mark}, batch.rows, newest)
        if done is None:
            return False
        rows, applied = done
        self._marks |= batch.now
        waiting.drop(len(reached))
        self._stored(mark)
        ear.moved()
        self._note(None, rows, 0)
        self._note(applied, 0, 0)
        return True

    def _read(self, place: Place, records: Sequence[Any], mark: Mark, changes: list[Keyed]) -> Mark:
        """Appends the changes that count, and returns the place after them."""
        table = self._topics.table(place.topic)
        route = self._routes.by_source.get(table)
        session, number = mark.session, mark.number
        for record in records:
            described = read_header(record.headers)
            if described is not None:
                its, place_in, columns = described
                if not marks.continues(Mark(0, session, number), its, place_in):
                    continue
                session, number = its, place_in
            if record.value is None:
                continue
            change = self._readers.change(table, columns if described is not None else None, record.value)
            if change.op == "t":
                raise EnvelopeError(
                    f"{place.topic} has a truncate, which over several partitions has no place: let the connector skip"
                    " it (skipped.operations=t)"
                )
            if change.message is None and route is not None:
                key = record.key.decode() if record.key is not None else key_text(route.identity(change))
                changes.append(Keyed(table, key, change))
        return Mark(records[-1].offset + 1, session, number)

    def _advance(self, kafka: KafkaConsumer, ear: Ear) -> None:
        """Pass what can be passed. A pulse is told at once, and stored now and then. Raises: Overtaken, LogLost."""
        waiting = self._waiting
        passed, last = self._passed(kafka, ear) if waiting.records else [], waiting.pulse
        last = passed[-1] if passed else last
        if last is None or (not passed and time.monotonic() < self._next_durable):
            return
        mark, newest = last
        if all(one.pulse for _, one in passed) and time.monotonic() < self._next_durable:
            waiting.pulse = last
            applied = Applied(newest.lsn, newest.at, datetime.now(UTC), 0, commit=False, durable=False)
        else:
            # A watermark or a fence shall not pass a row that only had to wait for another partition.
            self.sink.retry()
            controls = [one for _, one in passed] or [newest]
            applied = self.sink.advance(controls, self._marks[self._control], mark, self._control)
            self._stored(mark)
        self._note(applied, 0, len(self.sink.writer.parked))

    def _stored(self, mark: Mark) -> None:
        self._marks[self._control], self._waiting.pulse = mark, None
        self._next_durable = time.monotonic() + DURABLE_EVERY
        self._forgettable = True

    def _has_all(self, kafka: KafkaConsumer) -> bool:
        """No other member has a partition."""
        return len(kafka.assignment()) == 1 + self._topics.partitions * len(self._routes.by_source)

    def _passed(self, kafka: KafkaConsumer, ear: Ear) -> list[tuple[Mark, Control]]:
        """Where all partitions are ours, and have come to us, the target need not be asked how far they are.

        Raises: LogLost.
        """
        ours = self._has_all(kafka)
        known = self._marks if ours else marks.load(self._target, self._stream)
        passed = self._waiting.passed(known)
        if ours and not passed and self._waiting.needed() - known.keys():
            known = marks.load(self._target, self._stream)
            passed = self._waiting.passed(known)
        if passed:
            ear.moved()
        elif ear.is_stuck():
            late, ends = self._waiting.lacks(known)
            if late != self._late:  # long to apply, but not still
                self._late = dict(late)
                ear.moved()
            intact.require_log(kafka, late, ends)
            ear.require_given(late)
        return passed

    def _placed(self, kafka: KafkaConsumer, place: Place, records: Sequence[Any]) -> bool:
        """Whether these records begin where the target has come to; if not, they are asked for again from there.

        Raises: LogLost.
        """
        mark = self._marks.get(place)
        if mark is None:
            self.sink.look_again()  # who had the partition may have parked keys of it
            mark = marks.load(self._target, self._stream).get(place)
            if mark is None:
                first = client.limits(kafka, [place])[0][place]
                mark = marks.begin_at(self._target, self._stream, place, first)
            intact.require_log(kafka, {place: mark.offset})
            intact.require_topic(self._target, self._stream, place.topic, self._ids.get(place.topic, ""))
            self._marks[place] = mark
        looked_at = self._waiting.polled if place == self._control else None
        expected = mark.offset if looked_at is None else looked_at
        if records[0].offset == expected:
            return True
        intact.require_log(kafka, {place: expected})
        kafka.seek(TopicPartition(*place), expected)
        return False

    def _seek_all(self, kafka: KafkaConsumer) -> None:
        known = marks.load(self._target, self._stream)
        for place in kafka.assignment():
            mark = known.get(Place(place.topic, place.partition))
            if mark is not None:
                kafka.seek(place, mark.offset)

    def _look_after(self, kafka: KafkaConsumer) -> None:
        now = time.monotonic()
        if self._forgettable and now >= self._next_forget:
            self._next_forget, self._forgettable = now + FORGET_EVERY, False
            self.sink.forget()
        self._tell(kafka)

    def _next_offsets(self) -> dict[Place, int]:
        known = {place: mark.offset for place, mark in marks.load(self._target, self._stream).items()}
        if self._waiting.polled is not None:
            known[self._control] = self._waiting.polled
        return known

    def _tell(self, kafka: KafkaConsumer, now: bool = False) -> None:
        """Kafka's own offsets: how `kafka-consumer-groups` sees us. They decide nothing."""
        if not now and time.monotonic() < self._next_commit:
            return
        self._next_commit = time.monotonic() + COMMIT_EVERY
        assigned = {Place(p.topic, p.partition) for p in kafka.assignment()}
        news = {p: m.offset for p, m in self._marks.items() if p in assigned and self._told.get(p) != m.offset}
        if news:
            kafka.commit_async({TopicPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in news.items()})
            self._told.update(news)
