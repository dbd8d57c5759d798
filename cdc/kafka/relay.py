"""The producer's half: capture to topics. It confirms to the slot what the broker has acknowledged, and nothing else.

A session (session.py) ends with the first send that fails for good, and the next begins where the last control record
ends. See control.py and guard.py for what that guarantees.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from typing import Any

import psycopg
import structlog
from kafka import TopicPartition

from cdc.apply.foreign import Foreign
from cdc.apply.route import DomainMapping, Route, Routes, routes
from cdc.apply.session import translated_errors
from cdc.apply.state import read_state
from cdc.capture import slot as slots
from cdc.capture.buffer import Buffer
from cdc.capture.reader import Reader
from cdc.capture.replication import ReplicationStream
from cdc.capture.replication import connect as connect_replication
from cdc.change import lsn_text
from cdc.config import Stream
from cdc.errors import NotPrepared, SlotAhead, Transient, WrongSource, first_line
from cdc.kafka import client, control
from cdc.kafka.control import Control
from cdc.kafka.errors import BrokerAway, Moved
from cdc.kafka.session import Session
from cdc.kafka.settings import Settings
from cdc.kafka.topics import Topics, ensure
from cdc.schema import examine, store
from cdc.schema.sentry import Sentry

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
# How long one wait for events lasts, seconds; while a control record is on its way.
POLL, TICK = 0.25, 0.01
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
        self.source_dsn, self.target_dsn = source_dsn, target_dsn
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
            with client.admin(self.settings, name) as admin:
                ensure(admin, self.topics, self.tables, self.settings)
            last = last_control(self.settings, self.topics, name)
        position, system, db = self._position(last)
        before = last.session if last is not None else ""
        with translated_errors(), psycopg.connect(self.target_dsn, autocommit=True, connect_timeout=5) as target:
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
        foreign = Foreign(self.stream, self._routes, self.source_dsn, self.target_dsn)
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
                events, _ = buffer.take(TICK if session.waiting else POLL)
                admitted = foreign.admit(events)
                for at in range(0, len(admitted) or 1, CHUNK):
                    if session.send(admitted[at : at + CHUNK]):
                        reader.applied = self.sent_lsn = session.lsn
                for table in list(sentry.changed):
                    store.accept(target, self.stream.name, "source", {table: sentry.changed.pop(table)})
            if session.finish():
                reader.applied = self.sent_lsn = session.lsn
        finally:
            foreign.close()
            if reader is not None:
                reader.stop()
                reader.join(timeout=5)
            session.close()

    def _capture(self, position: int) -> ReplicationStream:
        """Raises: Transient when another relay has been at work since the last control record was read."""
        replication = connect_replication(self.source_dsn, f"banyan-cdc {self.stream.name}")
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
            psycopg.connect(self.source_dsn, autocommit=True, connect_timeout=5) as plain,
        ):
            return slots.find(plain, self.stream.slot)

    def _position(self, last: Control | None) -> tuple[int, str, str]:
        """Where to begin, the source's cluster and database.

        Raises: NotPrepared, Moved, WrongSource, SlotLost, SlotAhead.
        """
        with translated_errors(), psycopg.connect(self.target_dsn, autocommit=True, connect_timeout=5) as target:
            state = read_state(target, self.stream.name)
            row = target.execute("SELECT transport FROM banyan.stream WHERE stream = %s", [self.stream.name]).fetchone()
        if state is None or state.lsn is None or row is None:
            raise NotPrepared(f"stream {self.stream.name} has no position in the target: run prepare")
        if row[0] != "kafka":
            raise Moved(f"stream {self.stream.name} does not come through Kafka")
        try:
            with connect_replication(self.source_dsn, f"banyan-cdc {self.stream.name}") as source:
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
    with client.consumer(settings, name, 1, group=False) as reader:
        place = TopicPartition(topics.control, 0)
        reader.assign([place])
        (first,), (end,) = (found.values() for found in client.limits(reader, [(topics.control, 0)]))
        if first == end:
            return None
        reader.seek(place, end - 1)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for found in client.poll(reader, 500, 1).values():
                return control.decode(found[-1].value)
        raise BrokerAway(f"Kafka does not give the last record of {topics.control}")


def _tables(to: Routes) -> dict[str, Route]:
    """A route for each source table, which asks for the columns of all that the table has."""
    return {
        source: replace(first, source_columns=frozenset().union(*(r.source_columns for r in to.of_table(source))))
        for source, first in to.by_source.items()
    }
