"""A stream through Kafka as one process runs it: the relay beside, a member of the group, and a move when it is asked
for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import structlog

from cdc.apply.applier import Applied
from cdc.apply.route import DomainMapping, Routes
from cdc.apply.session import become_applier, connect
from cdc.change import lsn_number, lsn_text
from cdc.config import Stream
from cdc.errors import ConfigError, Transient, first_line
from cdc.kafka import client, intact, marks, move
from cdc.kafka.consumer import Consumer, Note
from cdc.kafka.errors import Moved
from cdc.kafka.halves import Half, Producer, Start
from cdc.kafka.marker import Marker
from cdc.kafka.relay import Relay, last_control
from cdc.kafka.settings import Settings
from cdc.kafka.standing import LOOK, stand
from cdc.kafka.topics import Topics, ensure
from cdc.prepare import create_origin
from cdc.status import Status

# A relay that ended without a word is started again after this, seconds.
RELAY_PAUSE = 1.0
# Members of a group beside the stream's own process; each has an origin of its own.
MAX_MEMBERS = 8

log = structlog.get_logger("cdc.kafka")


def producer_of(stream: Stream, mapping: DomainMapping, source_dsn: str, target_dsn: str) -> Producer:
    """What writes the control topic, and if the stream's settings say so the tables' topics too. Raises:
    ConfigError."""
    settings = settings_of(stream)
    made = Relay if settings.capture == "relay" else Marker
    return made(stream, settings, mapping, source_dsn, target_dsn)


def settings_of(stream: Stream) -> Settings:
    """Raises: ConfigError."""
    if stream.kafka is None:
        raise ConfigError(
            f"stream {stream.name} comes through Kafka, but its file has no `kafka` settings: give its domain"
            f" `kafka` in the plan, or move it (`banyan stream move {stream.name} --to direct`) with the file that had"
            " them"
        )
    return stream.kafka


def run(
    target: psycopg.Connection[Any],
    stream: Stream,
    routes: Routes,
    status: Status,
    source_dsn: str,
    stopping: Callable[[], bool],
    start: Start,
    note: Note,
) -> None:
    """Until `stopping`, or until the stream has been moved to the direct transport.

    Raises: LogLost, Transient, and what the relay needs a person for.
    """
    settings = settings_of(stream)
    consumer = Consumer(target, stream.name, settings, routes, note)
    watch = _Watch(target, stream, settings, consumer, source_dsn, start)
    try:
        status.state, status.problem = "streaming", ""
        consumer.run(lambda: stopping() or watch.done())
    finally:
        watch.half.stop()
    if watch.arrived:
        move.begin_direct(target, stream.name)
        log.info("moved", stream=stream.name, to="direct", lsn=lsn_text(watch.end or 0))


def sent(target: psycopg.Connection[Any], stream: Stream, tables: list[str]) -> int:
    """How far the source's changes are in Kafka for good; 0: nothing is.

    Raises: LogLost, BrokerAway, ConfigError.
    """
    settings = settings_of(stream)
    topics = Topics(settings.prefix, settings.partitions)
    with client.translated():
        with client.admin(settings, stream.name) as admin:
            ids = ensure(admin, topics, tables, settings)
        known = marks.load(target, stream.name)
        for topic in {place.topic for place in known}:
            intact.require_topic(target, stream.name, topic, ids.get(topic, ""))
        with client.consumer(settings, stream.name, 1, group=False) as reader:
            intact.require_log(reader, {place: mark.offset for place, mark in known.items()})
        last = last_control(settings, topics, stream.name)
    return last.lsn if last is not None else 0


class _Watch:
    """Looks after the relay and the wish to move, between two polls of the consumer."""

    def __init__(
        self,
        target: psycopg.Connection[Any],
        stream: Stream,
        settings: Settings,
        consumer: Consumer,
        source_dsn: str,
        start: Start,
    ) -> None:
        self._target, self._stream, self._settings = target, stream, settings
        self._consumer, self._source_dsn, self._start = consumer, source_dsn, start
        self.half: Half = start()
        self._next = 0.0
        self._wall: int | None = None
        self.arrived = False
        self.end: int | None = None

    def done(self) -> bool:
        """True once the target is exactly where the relay ended. Raises what the relay needs a person for."""
        if self.arrived or time.monotonic() < self._next:
            return self.arrived
        self._next = time.monotonic() + LOOK
        if (error := self.half.failed()) is not None:
            raise error
        _, wish, position = stand(self._target, self._stream.name)
        if wish == "direct":
            self.arrived = self._approach(position or 0)
        elif self.half.ended():
            self._next += RELAY_PAUSE
            self.half = self._start()
        return self.arrived

    def _approach(self, position: int) -> bool:
        """The three steps of move.py, one look at a time."""
        if self._wall is None:
            self._wall = self._source_position()
        if self.end is None:
            if position < self._wall:
                return False
            self.half.stop()
            last = last_control(self._settings, Topics(self._settings.prefix, self._settings.partitions), "move")
            self.end = last.lsn if last is not None else position
        return position >= self.end and not self._consumer.waiting

    def _source_position(self) -> int:
        try:
            with psycopg.connect(self._source_dsn, autocommit=True, connect_timeout=5) as source:
                row = source.execute("SELECT pg_current_wal_lsn()").fetchone()
        except psycopg.OperationalError as e:
            raise Transient(f"cannot connect to the source: {first_line(e)}") from e
        assert row is not None
        return lsn_number(row[0])


def member(target_dsn: str, stream: Stream, routes: Routes, status: Status, stopping: Callable[[], bool]) -> None:
    """One more consumer of the group, until `stopping` or until the stream is moved away.

    Raises: LogLost, Transient.
    """
    settings = settings_of(stream)
    target = connect(target_dsn, f"banyan-cdc {stream.name} member")
    with target:
        _own_origin(target, stream.origin)
        status.state, status.problem = "streaming", ""
        try:
            Consumer(target, stream.name, settings, routes, noted(status), leads=False).run(stopping)
        except Moved:
            return


def _own_origin(target: psycopg.Connection[Any], origin: str) -> None:
    """An origin belongs to one session; a member takes the first that is free."""
    for number in range(1, MAX_MEMBERS + 1):
        name = f"{origin[:58]}_k{number}"
        create_origin(target, name)
        try:
            become_applier(target, name)
        except Transient:
            if number == MAX_MEMBERS:
                raise
        else:
            return


def noted(status: Status, progress: Callable[[], None] = lambda: None) -> Note:
    """Rows come with their batch, the watermark with the control record that has been passed."""
    since = 0  # rows since the last watermark

    def note(applied: Applied | None, rows: int, parked: int) -> None:
        nonlocal since
        if applied is None:
            since += rows
            status.rows += rows
            status.parked = parked
            progress()
        else:
            status.rows -= since  # it counts them again, with their rate
            status.note(replace(applied, rows=since), parked)
            since = 0

    return note
