"""The control topic where Debezium captures: its connector writes the tables' topics, this only says how far they are.

What Debezium has confirmed to its slot it has read back as acknowledged by the broker, and never sends again. So 1. the
slot's confirmed position L is read, 2. then every partition's end: all that was committed before L is below these ends.
That is a control record (control.py), written by us in Debezium's stead. Fence markers come from the connector's topic
`<prefix>.message`, and are passed on once L is past them.

It is as slow as the connector confirms (`offset.flush.interval.ms` of its worker), so a switch waits longer. Records
have no numbers then: that a partition has no gap rests on Connect's producer, which stops at the first failed send.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
import structlog
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from cdc.apply.route import DomainMapping, routes
from cdc.apply.session import translated_errors
from cdc.capture import slot as slots
from cdc.capture.replication import connect as connect_replication
from cdc.change import FENCE, Change, lsn_text
from cdc.config import Stream
from cdc.envelope import from_debezium_json
from cdc.errors import Transient, first_line
from cdc.kafka import client, control, marks
from cdc.kafka.bounded import PATIENCE, within
from cdc.kafka.control import Control
from cdc.kafka.errors import BrokerAway
from cdc.kafka.relay import last_control
from cdc.kafka.settings import Settings
from cdc.kafka.standing import stand
from cdc.kafka.topics import Topics, ensure

EVERY = 0.25
PAUSE = 2.0
# So long the messages that are there may take to come, seconds.
READ = 10.0

log = structlog.get_logger("cdc.kafka.marker")


class Marker:
    """Takes the place of a Relay: `run` blocks until `stop` is set, or the stream has been moved away."""

    def __init__(
        self, stream: Stream, settings: Settings, mapping: DomainMapping, source_dsn: str, target_dsn: str
    ) -> None:
        self.stream, self.settings = stream, settings
        self.topics = Topics(settings.prefix, settings.partitions)
        self._tables = list(routes(mapping, stream.direction).by_source)
        self._source_dsn, self._target_dsn = source_dsn, target_dsn

    def run(self, stop: threading.Event) -> None:
        """Raises: every CdcError but Transient."""
        while not stop.is_set():
            try:
                with translated_errors(), psycopg.connect(self._target_dsn, connect_timeout=5) as target:
                    if stand(target, self.stream.name)[0] != "kafka":
                        return
                self._session(stop)
            except Transient as e:
                log.warning("marker interrupted", stream=self.stream.name, error=str(e))
                stop.wait(PAUSE)

    def _session(self, stop: threading.Event) -> None:
        name = f"{self.stream.name} marker"
        with client.translated():
            with client.admin(self.settings, name) as admin:
                ensure(admin, self.topics, self._tables, self.settings)
            with client.consumer(self.settings, name, 1000, group=False) as reader:
                producer = client.producer(self.settings, name)
                try:
                    self._mark(producer, reader, stop)
                finally:
                    client.end(producer)

    def _mark(self, producer: KafkaProducer, reader: KafkaConsumer, stop: threading.Event) -> None:
        last = last_control(self.settings, self.topics, f"{self.stream.name} marker")
        before = last.session if last is not None else ""
        session = marks.session_name(before, time.time_ns() // 1_000_000, secrets.token_hex(2))
        number, newest = 0, -1
        fences = _Fences(reader, f"{self.topics.prefix}.message")
        partitions = {self.topics.of(table): self.topics.partitions for table in self._tables}
        try:
            with connect_replication(self._source_dsn, f"banyan-cdc {self.stream.name} marker") as replication:
                identified = replication.execute("IDENTIFY_SYSTEM").fetchone()
            assert identified is not None
            system = str(identified[0])
            with psycopg.connect(self._source_dsn, autocommit=True, connect_timeout=5) as source:
                while not stop.wait(EVERY):
                    slot = slots.find(source, self.stream.slot)
                    if slot is None or slot.confirmed_lsn <= newest:
                        continue
                    fences.read()
                    newest = slot.confirmed_lsn
                    ends: dict[str, list[int]] = {topic: [-1] * count for topic, count in partitions.items()}
                    for (topic, partition), end in client.ends(reader, partitions).items():
                        ends[topic][partition] = end
                    sent = [control.sent(change) for change in fences.before(newest)]
                    one = Control(session, number, system, newest, datetime.now(UTC), False, ends, sent)
                    producer.send(self.topics.control, control.encode(one), partition=0).get(timeout=30)
                    number += 1
        except psycopg.OperationalError as e:
            raise Transient(f"cannot connect to the source: {first_line(e)}") from e
        log.info("marker ends", stream=self.stream.name, lsn=lsn_text(max(newest, 0)))


class _Fences:
    """Fence markers in the connector's message topic that have not been passed on; from its beginning, since recording
    one twice changes nothing.
    """

    def __init__(self, reader: KafkaConsumer, topic: str) -> None:
        self._reader, self._topic, self._waiting = reader, topic, list[Change]()

    def read(self) -> None:
        """All that there is now. The connector makes the topic with its first message. Raises: BrokerAway."""
        reader = self._reader
        if not reader.assignment():
            if self._topic not in within(PATIENCE, "topics", reader.topics):
                return
            numbers = within(PATIENCE, "partitions", partial(reader.partitions_for_topic, self._topic))
            reader.assign([TopicPartition(self._topic, number) for number in sorted(numbers or {0})])
            reader.seek_to_beginning()
        places = sorted((place.topic, place.partition) for place in reader.assignment())
        ends, deadline = client.limits(reader, places)[1], time.monotonic() + READ
        while any(self._position(place) < end for place, end in ends.items()):
            if time.monotonic() > deadline:
                raise BrokerAway(f"Kafka does not give the records of {self._topic}")
            for records in client.poll(reader, 100, 1000).values():
                self._take(records)

    def _position(self, place: tuple[str, int]) -> int:
        """-1: not known yet."""
        position = self._reader.position(TopicPartition(*place), timeout_ms=int(READ * 1000))
        return -1 if position is None else int(position)

    def _take(self, records: Iterable[Any]) -> None:
        for record in records:
            change = from_debezium_json(record.value) if record.value else None
            if change is not None and change.message is not None and change.message.prefix == FENCE:
                self._waiting.append(change)

    def before(self, lsn: int) -> Iterable[Change]:
        passed = [change for change in self._waiting if change.lsn < lsn]
        self._waiting = [change for change in self._waiting if change.lsn >= lsn]
        return passed
