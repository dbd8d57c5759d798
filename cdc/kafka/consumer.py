"""The consumer's half: topics to target. One member of the stream's group; any number of them share the partitions.

A batch is one target transaction over all partitions in hand. Kafka is told the new offsets after its commit, for
people to see; where to go on is the target's word (marks.py). So a rebalance needs no ceremony: what a member has in
hand it either commits before somebody else does, or it finds itself overtaken, rolls back and reads its places again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from cdc.apply.applier import Applied
from cdc.apply.route import Routes, key_text
from cdc.errors import EnvelopeError
from cdc.kafka import client, control, marks
from cdc.kafka.control import Control
from cdc.kafka.errors import LogLost, Overtaken
from cdc.kafka.guard import Keyed
from cdc.kafka.marks import Mark, Place
from cdc.kafka.records import Readers, read_header
from cdc.kafka.settings import Settings
from cdc.kafka.sink import Sink
from cdc.kafka.topics import Topics, ensure

# Changes of one target transaction.
BATCH_ROWS = 10_000
# How long one poll lasts before the stop flag is looked at; shorter while a watermark waits for other members, ms.
POLL_MS, WAIT_MS = 200, 5
# Guards are forgotten at most this often, and offsets told to Kafka, seconds.
FORGET_EVERY, COMMIT_EVERY = 1.0, 1.0

log = structlog.get_logger("cdc.kafka.consumer")

Note = Callable[[Applied | None, int, int], None]
"""(watermark if it moved, rows applied, parked keys)."""


class Consumer:
    """Bound to one applier session; `run` blocks."""

    def __init__(
        self, target: psycopg.Connection[Any], stream: str, settings: Settings, routes: Routes, note: Note
    ) -> None:
        self._target, self._stream, self._settings, self._routes = target, stream, settings, routes
        self._topics = Topics(settings.prefix, settings.partitions)
        self._control = Place(self._topics.control, 0)
        self._note = note
        self.sink = Sink(target, stream, routes, commits=settings.capture == "relay")
        self._readers = Readers()
        self._marks: dict[Place, Mark] = {}
        self._waiting: list[tuple[Mark, Control]] = []
        self._next_forget = self._next_commit = 0.0
        self._told: dict[Place, int] = {}
        self._polled: int | None = None  # next offset of the control topic that this member has not looked at
        self._forgettable = False

    @property
    def waiting(self) -> bool:
        """Whether control records are in hand that have not been passed."""
        return bool(self._waiting)

    def run(self, stop: Callable[[], bool]) -> None:
        """Raises: Moved, LogLost, Transient, and what concerns the stream as a whole."""
        name = f"{self._stream} apply"
        tables = list(self._routes.by_source)
        with client.translated():
            admin = client.admin(self._settings, name)
            try:
                ensure(admin, self._topics, tables, self._settings)
            finally:
                admin.close()
            kafka = client.consumer(self._settings, name, BATCH_ROWS)
            try:
                kafka.subscribe([self._topics.control, *map(self._topics.of, tables)])
                log.info("consuming", stream=self._stream, group=self._settings.group_id)
                while not stop():
                    self._once(kafka)
                self._tell(kafka, now=True)
            finally:
                kafka.close(autocommit=False, timeout_ms=2000)

    def _once(self, kafka: KafkaConsumer) -> None:
        polled = kafka.poll(timeout_ms=WAIT_MS if self._waiting else POLL_MS, max_records=BATCH_ROWS)
        try:
            found = {Place(p.topic, p.partition): records for p, records in polled.items() if records}
            self._data(kafka, found)
            if (records := found.get(self._control)) is not None and self._placed(kafka, self._control, records):
                self._take_control(records)
            self._advance()
        except Overtaken as e:
            log.info("overtaken", stream=self._stream, reason=str(e))
            self.sink.rollback()
            self._marks.clear()
            self._waiting.clear()
            self._polled = None
            self._seek_all(kafka)
            return
        self._look_after(kafka)

    def _data(self, kafka: KafkaConsumer, found: dict[Place, list[Any]]) -> None:
        was: dict[Place, Mark] = {}
        now: dict[Place, Mark] = {}
        rows: dict[Place, int] = {}
        changes: list[Keyed] = []
        for place, records in found.items():
            if place.topic == self._topics.control or not self._placed(kafka, place, records):
                continue
            before = len(changes)
            was[place] = self._marks[place]
            now[place] = self._read(place, records, was[place], changes)
            rows[place] = len(changes) - before
        if not now:
            return
        if len(now) > 1:  # as near to the source's own order as partitions allow
            changes.sort(key=lambda one: (one.change.tx.commit_lsn, one.change.lsn))
        applied = self.sink.apply(changes, was, now, rows)
        self._marks.update(now)
        self._note(None, applied, len(self.sink.writer.parked))

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

    def _take_control(self, records: Sequence[Any]) -> None:
        """Control records that count wait until they have been passed."""
        place = self._control
        mark = self._waiting[-1][0] if self._waiting else self._marks[place]
        for record in records:
            one = control.decode(record.value)
            if marks.continues(mark, one.session, one.number):
                mark = Mark(record.offset + 1, one.session, one.number)
                self._waiting.append((mark, one))
        self._polled = records[-1].offset + 1

    def _advance(self) -> None:
        if not self._waiting:
            return
        applied: dict[tuple[str, int], int] = {
            place: mark.offset for place, mark in marks.load(self._target, self._stream).items()
        }
        passed: list[tuple[Mark, Control]] = []
        for one in self._waiting:
            if not control.passed(one[1], applied):
                break
            passed.append(one)
        if not passed:
            return
        self.sink.retry()  # a watermark or a fence shall not pass a row that only had to wait for another partition
        was, now = self._marks[self._control], passed[-1][0]
        applied_now = self.sink.advance([one for _, one in passed], was, now, self._control)
        self._marks[self._control] = now
        del self._waiting[: len(passed)]
        self._forgettable = True
        self._note(applied_now, 0, len(self.sink.writer.parked))

    def _placed(self, kafka: KafkaConsumer, place: Place, records: Sequence[Any]) -> bool:
        """Whether these records begin where the target has come to; if not, they are asked for again from there.

        Raises: LogLost.
        """
        mark = self._marks.get(place)
        if mark is None:
            mark = marks.load(self._target, self._stream).get(place)
            first = kafka.beginning_offsets([TopicPartition(*place)], timeout_ms=client.BOOTSTRAP_MS)[
                TopicPartition(*place)
            ]
            if mark is None:
                mark = marks.begin_at(self._target, self._stream, place, first)
            if first > mark.offset:
                raise LogLost(
                    f"Kafka's {place.topic} partition {place.partition} begins at {first}, the target has come to"
                    f" {mark.offset}: what was between is gone. Fill the target again (`python -m cdc snapshot --stream"
                    f" {self._stream}`), and keep the topics longer"
                )
            self._marks[place] = mark
        expected = self._polled if place == self._control and self._polled is not None else mark.offset
        if records[0].offset == expected:
            return True
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
