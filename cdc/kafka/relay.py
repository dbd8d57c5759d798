"""The producer's half: capture to topics. It confirms to the slot what the broker has acknowledged, and nothing else.

A session (one connection to the slot, one producer) ends with the first send that fails for good, and the next begins
where the last control record ends. See control.py and guard.py for what that guarantees.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import structlog
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError

from cdc.apply.foreign import Foreign
from cdc.apply.operations import split
from cdc.apply.route import DomainMapping, Route, Routes, routes
from cdc.apply.session import translated_errors
from cdc.apply.state import read_state
from cdc.apply.statements import table_name
from cdc.capture import slot as slots
from cdc.capture.buffer import Buffer
from cdc.capture.raw import Captured, as_event
from cdc.capture.reader import Reader
from cdc.capture.replication import ReplicationStream
from cdc.capture.replication import connect as connect_replication
from cdc.capture.types import SESSION_OPTIONS
from cdc.change import FENCE, Boundary, Change, lsn_text
from cdc.config import Stream
from cdc.errors import NotPrepared, SlotAhead, Transient, WrongSource, first_line
from cdc.kafka import client, control, marks, records
from cdc.kafka.control import Control, Sent, Truncated
from cdc.kafka.errors import BrokerAway, Moved
from cdc.kafka.settings import Settings
from cdc.kafka.topics import Topics, ensure
from cdc.schema import examine, store
from cdc.schema.sentry import Sentry

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
POLL = 0.25
# How often the target is asked whether a truncate has been applied, seconds.
ASK = 0.02
# How long one wait for the broker lasts before the stop flag is looked at; how long a relay that is asked to stop still
# waits, seconds.
PATIENCE, LAST_WORD = 0.5, 2.0
# Changes sent before the broker's acknowledgement is waited for.
CHUNK = 5_000

log = structlog.get_logger("cdc.kafka.relay")


class Relay:
    """`run` blocks until `stop` is set or something needs a person."""

    def __init__(
        self, stream: Stream, settings: Settings, mapping: DomainMapping, source_dsn: str, target_dsn: str
    ) -> None:
        self.stream, self.settings = stream, settings
        self.topics = Topics(settings.prefix, settings.partitions)
        self._routes = routes(mapping, stream.direction)
        self.tables = _tables(self._routes)
        self._source_dsn, self._target_dsn = source_dsn, target_dsn
        self.problem = ""
        self.rows = 0
        self.sent_lsn = 0

    def run(self, stop: threading.Event) -> None:
        """Raises: every CdcError but Transient; returns when the stream has been moved away."""
        pause = FIRST_PAUSE
        while not stop.is_set():
            began = time.monotonic()
            try:
                self._session(stop)
            except Moved:
                return
            except Transient as e:
                self.problem = str(e)
                if time.monotonic() - began > LAST_PAUSE:
                    pause = FIRST_PAUSE
                log.warning("relay interrupted", stream=self.stream.name, error=str(e), retry_in_s=round(pause, 2))
                stop.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter
                pause = min(LAST_PAUSE, pause * 2)

    def _session(self, stop: threading.Event) -> None:
        name = f"{self.stream.name} relay"
        with client.translated():
            admin = client.admin(self.settings, name)
            try:
                ensure(admin, self.topics, self.tables, self.settings)
            finally:
                admin.close()
            last = last_control(self.settings, self.topics, name)
        position, system, db = self._position(last)
        before = last.session if last is not None else ""
        with translated_errors(), psycopg.connect(self._target_dsn, autocommit=True, connect_timeout=5) as target:
            sentry = self._sentry(target)
            session = Session(self, client.producer(self.settings, name), system, db, position, before, stop)
            self._relay(target, session, sentry)

    def _sentry(self, target: psycopg.Connection[Any]) -> Sentry:
        """Raises: SchemaChanged, when the target's tables are not what they were."""
        known = store.accepted(target, self.stream.name)
        examine.require_target(target, self.stream.name, self._routes, known.target, self.stream.policies)
        return Sentry(self.stream.name, self._routes, known.source, self.stream.policies, known.through)

    def _relay(self, target: psycopg.Connection[Any], session: Session, sentry: Sentry) -> None:
        buffer = Buffer()
        reader: Reader | None = None
        foreign = Foreign(self.stream, self._routes, self._source_dsn, self._target_dsn)
        try:
            source = self._capture(session.lsn)
            # Only who has the slot says that a session begins: the one that has ended does not count from now on.
            session.mark()
            interval = self.stream.status_interval
            reader = Reader(source, buffer, self.stream.name, interval=interval, sentry=sentry)
            reader.start()
            self.problem = ""
            log.info("relaying", stream=self.stream.name, lsn=lsn_text(session.lsn), session=session.name)
            while not session.stopping:
                events, _ = buffer.take(POLL)
                admitted = foreign.admit(events)
                for at in range(0, len(admitted), CHUNK):
                    if session.send(admitted[at : at + CHUNK]):
                        reader.applied = self.sent_lsn = session.lsn
                for table in list(sentry.changed):
                    store.accept(target, self.stream.name, "source", {table: sentry.changed.pop(table)})
        finally:
            foreign.close()
            if reader is not None:
                reader.stop()
                reader.join(timeout=5)
            session.close()

    def _capture(self, position: int) -> ReplicationStream:
        """Raises: Transient when another relay has been at work since the last control record was read."""
        replication = connect_replication(self._source_dsn, f"banyan-cdc {self.stream.name}")
        try:
            source = ReplicationStream(replication, self.stream.slot, [self.stream.publication], position)
            found = self._slot()
            if found is None or found.confirmed_lsn > position:
                raise Transient(f"slot {self.stream.slot} moved while the relay began")
        except BaseException:
            replication.close()
            raise
        return source

    def _slot(self) -> slots.Slot | None:
        with (
            translated_errors("the source"),
            psycopg.connect(self._source_dsn, autocommit=True, connect_timeout=5) as plain,
        ):
            return slots.find(plain, self.stream.slot)

    def _position(self, last: Control | None) -> tuple[int, str, str]:
        """Where to begin, the source's cluster and database.

        Raises: NotPrepared, Moved, WrongSource, SlotLost, SlotAhead.
        """
        with translated_errors(), psycopg.connect(self._target_dsn, autocommit=True, connect_timeout=5) as target:
            state = read_state(target, self.stream.name)
            row = target.execute("SELECT transport FROM banyan.stream WHERE stream = %s", [self.stream.name]).fetchone()
        if state is None or state.lsn is None or row is None:
            raise NotPrepared(f"stream {self.stream.name} has no position in the target: run prepare")
        if row[0] != "kafka":
            raise Moved(f"stream {self.stream.name} does not come through Kafka")
        try:
            with connect_replication(self._source_dsn, f"banyan-cdc {self.stream.name}") as source:
                identified = source.execute("IDENTIFY_SYSTEM").fetchone()
        except psycopg.OperationalError as e:
            raise Transient(f"cannot connect to the source: {first_line(e)}") from e
        assert identified is not None
        system, db = identified[0], identified[3] or ""
        if last is not None and last.system != system:
            raise WrongSource(
                f"the topics {self.topics.prefix}.* hold changes of cluster {last.system}, the source is {system}:"
                " correct the source's URL, or choose another prefix"
            )
        # A target that is further than the topics was filled again, or moved here, after their last record.
        position = max(state.lsn, last.lsn if last is not None else 0)
        refusal = slots.judge(self.stream.slot, self._slot(), position, f"banyan-cdc {self.stream.name}")
        if refusal is not None:
            if isinstance(refusal, SlotAhead) and last is None:
                raise SlotAhead(f"Kafka has no topic {self.topics.control} any more, or it is empty; {refusal}")
            raise refusal
        return position, system, db


def last_control(settings: Settings, topics: Topics, name: str) -> Control | None:
    """The newest control record: what it says is in Kafka for good."""
    reader = client.consumer(settings, name, 1, group=False)
    try:
        place = TopicPartition(topics.control, 0)
        reader.assign([place])
        (first,), (end,) = (found.values() for found in client.limits(reader, [(topics.control, 0)]))
        if first == end:
            return None
        reader.seek(place, end - 1)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for found in reader.poll(timeout_ms=500).values():
                return control.decode(found[-1].value)
        raise BrokerAway(f"Kafka does not give the last record of {topics.control}")
    finally:
        reader.close()


class Session:
    """Numbered records of one producer."""

    def __init__(
        self,
        relay: Relay,
        producer: KafkaProducer,
        system: str,
        db: str,
        lsn: int,
        before: str,
        stop: threading.Event,
    ) -> None:
        """`before`: the session of the last control record."""
        self.name = marks.session_name(before, time.time_ns() // 1_000_000, secrets.token_hex(2))
        self.lsn = lsn
        self._relay, self._producer, self._stop = relay, producer, stop
        self._system, self._db = system, db
        self._numbers: dict[tuple[str, int], int] = defaultdict(int)
        self._ends: dict[str, list[int]] = {}
        self._futures: list[Any] = []
        self._last: dict[tuple[str, int], Any] = {}
        self._control = 0
        self._writers: dict[str, records.Writer] = {}
        self._open: list[Sent] = []  # messages of a transaction that has not ended
        self._messages: list[Sent] = []
        self._boundary: Boundary | None = None
        self._pulse = True  # nothing but pulses since the last control record

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def send(self, events: Sequence[Captured]) -> bool:
        """Send, wait for the acknowledgement, and put down how far that is; False inside a source transaction.

        Raises: BrokerAway, after which the session is worth nothing.
        """
        with client.translated():
            for event in map(as_event, events):
                if isinstance(event, Boundary):
                    self._boundary = event
                    self._pulse = self._pulse and event.pulse
                    self._messages += self._open
                    self._open.clear()
                elif event.op == "t":
                    self._truncate(event)
                elif event.message is not None:
                    if event.message.prefix == FENCE:
                        self._open.append(control.sent(event))
                else:
                    self._change(event)
            self._acknowledged()
            if self._boundary is None:
                return False
            self.lsn = self._boundary.lsn
            self.mark(at=self._boundary)
            self._boundary = None
        return True

    def mark(self, at: Boundary | None = None, truncates: list[Truncated] | None = None) -> None:
        """Write a control record and wait for it."""
        found = Control(
            self.name,
            self._control,
            self._system,
            self.lsn,
            at.at if at is not None else records.now(),
            at.commit if at is not None else False,
            {topic: list(ends) for topic, ends in self._ends.items()},
            self._messages if at is not None else [],
            truncates or [],
            pulse=at is not None and self._pulse and not (self._ends or self._messages),
        )
        future = self._producer.send(self._relay.topics.control, control.encode(found), partition=0)
        self._wait(lambda: future.get(timeout=PATIENCE))
        self._control += 1
        self._ends.clear()
        if at is not None:
            self._messages, self._pulse = [], True

    def close(self) -> None:
        try:
            self._producer.close(timeout=1)
        except Exception as e:
            log.warning("producer did not close", error=first_line(e))

    def _change(self, change: Change) -> None:
        route = self._relay.tables.get(change.relation.name) if change.relation is not None else None
        if route is None:
            return
        parts = split(change, route)
        if len(parts) == 1 and _moves(change, route):
            parts = split(self._completed(change, route), route)
        for part in parts:
            self._send(part, route)
        self._relay.rows += 1

    def _send(self, change: Change, route: Route) -> None:
        assert change.relation is not None
        writer = self._writers.get(route.source)
        if writer is None or writer.relation is not change.relation:
            prefix = self._relay.topics.prefix
            writer = self._writers[route.source] = records.Writer(change.relation, prefix, self._db, route.source_key)
        row = change.after if change.after is not None else change.before
        assert row is not None
        key = writer.key(row)
        topic, partition = self._relay.topics.of(route.source), self._relay.topics.partition(key)
        self._put(topic, partition, key, writer.value(change, time.time_ns() // 1000), writer.columns)
        if change.op == "d" and self._relay.settings.tombstones:
            self._put(topic, partition, key, None, writer.columns)

    def _put(self, topic: str, partition: int, key: bytes, value: bytes | None, columns: bytes) -> None:
        place = (topic, partition)
        number = self._numbers[place]
        self._numbers[place] = number + 1
        headers = [(records.HEADER, records.header(self.name, number, columns))]
        future = self._producer.send(topic, value, key, headers, partition)
        self._futures.append(future)
        self._last[place] = future

    def _acknowledged(self) -> None:
        if not self._futures:
            return
        self._wait(lambda: self._producer.flush(timeout=PATIENCE))
        for future in self._futures:
            if not future.is_done or future.failed():
                raise client.kafka_error(future.exception or TimeoutError("not acknowledged"))
        for (topic, partition), future in self._last.items():
            ends = self._ends.setdefault(topic, [-1] * self._relay.topics.partitions)
            ends[partition] = future.value.offset + 1
        self._futures.clear()
        self._last.clear()

    def _wait(self, step: Callable[[], Any]) -> None:
        """For the broker, as long as a delivery may take; when asked to stop, only a moment longer. Raises:
        BrokerAway."""
        deadline = time.monotonic() + client.DELIVERY_MS / 1000
        while True:
            try:
                with client.translated():
                    step()
                return
            except BrokerAway as e:
                if not isinstance(e.__cause__, KafkaTimeoutError) or time.monotonic() > deadline:
                    raise
                if self._stop.is_set():
                    deadline = min(deadline, time.monotonic() + LAST_WORD)

    def _truncate(self, change: Change) -> None:
        """Nothing after it is sent before the target has applied it, since its rows are in every partition."""
        route = self._relay.tables.get(change.relation.name) if change.relation is not None else None
        if route is None:
            return
        self._acknowledged()
        truncated = Truncated(route.source, change.lsn, change.tx.commit_lsn)
        self.mark(truncates=[truncated])
        with (
            translated_errors(),
            psycopg.connect(self._relay._target_dsn, autocommit=True, connect_timeout=5) as target,
        ):
            query = (
                "SELECT 1 FROM banyan.kafka_partition"
                " WHERE stream = %s AND topic = %s AND session = %s AND number >= %s"
            )
            parameters = [self._relay.stream.name, self._relay.topics.control, self.name, self._control - 1]
            while target.execute(query, parameters).fetchone() is None:
                if self._stop.wait(ASK):
                    raise BrokerAway("stopped while a truncate was under way; it comes again")

    def _completed(self, change: Change, route: Route) -> Change:
        """A changed key whose row has an unknown (unchanged TOAST) value cannot be put under its new key without it.

        The source's present value does: should it change later, the change that says so is still to come, and has it.
        """
        assert change.after is not None
        missing = sorted(route.source_columns - change.after.keys())
        names = ", ".join(table_name(f"t.{name}").as_string() for name in missing)
        match = " AND ".join(f"{table_name(f't.{name}').as_string()} = %s" for name in route.source_key)
        query = f"SELECT {names} FROM {table_name(route.source).as_string()} t WHERE {match}"  # noqa: S608  identifiers
        with psycopg.connect(self._relay._source_dsn, options=SESSION_OPTIONS, connect_timeout=5) as source:
            row = source.execute(query, [change.after[name] for name in route.source_key]).fetchone()
        values = dict(zip(missing, row if row is not None else [None] * len(missing), strict=True))
        return _with_after(change, {**change.after, **values})


def _tables(to: Routes) -> dict[str, Route]:
    """A route for each source table, which asks for the columns of all that the table has."""
    return {
        source: replace(first, source_columns=frozenset().union(*(r.source_columns for r in to.of_table(source))))
        for source, first in to.by_source.items()
    }


def _moves(change: Change, route: Route) -> bool:
    before, after = change.before, change.after
    if change.op != "u" or before is None or after is None:
        return False
    return any(name in before and before[name] != after.get(name) for name in route.source_key)


def _with_after(change: Change, after: dict[str, Any]) -> Change:
    return Change(change.op, change.tx, change.lsn, change.relation, change.before, after, None, change.snapshot)
