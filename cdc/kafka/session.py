"""One session of a relay: one producer, whose records are numbered by partition, and the control records between them.

It is worth nothing any more after the first send that fails for good. See control.py and guard.py.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from cdc.apply.operations import split
from cdc.apply.route import Route
from cdc.apply.session import translated_errors
from cdc.apply.statements import table_name
from cdc.capture.raw import Captured, as_event
from cdc.capture.types import SESSION_OPTIONS
from cdc.change import FENCE, Boundary, Change
from cdc.kafka import client, control, marks, records
from cdc.kafka.control import Control, Sent, Truncated
from cdc.kafka.errors import BrokerAway

if TYPE_CHECKING:
    from cdc.kafka.relay import Relay

# How often the target is asked whether a truncate has been applied, seconds.
ASK = 0.02
# How long one wait for the broker lasts before the stop flag is looked at; how long a relay that is asked to stop still
# waits, seconds.
PATIENCE, LAST_WORD = 0.5, 2.0

log = structlog.get_logger("cdc.kafka.relay")


class Session:
    """Bound to its relay's stream. Not thread-safe."""

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
        self._told: tuple[int, Any] | None = None  # the position that the control record on its way tells, its future
        self._told_until = 0.0

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def waiting(self) -> bool:
        """Whether a control record is on its way, which `send` looks after; also without events."""
        return self._told is not None

    def send(self, events: Sequence[Captured]) -> bool:
        """Send, wait for the acknowledgement, and put down how far that is. The record that says so is not waited for:
        it goes while the next changes are made ready. True when `lsn` has come to where such a record says.

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
            moved = self._heard(now=self._boundary is not None)
            if self._boundary is not None:
                at, self._boundary = self._boundary, None
                self._told = at.lsn, self._tell(at.lsn, at)
        return moved

    def mark(self, truncates: list[Truncated] | None = None) -> None:
        """Write a control record that says how far it was, and wait for it."""
        self._heard(now=True)
        future = self._tell(self.lsn, None, truncates)
        self._wait(lambda: future.get(timeout=PATIENCE))

    def finish(self) -> bool:
        """Wait for the control record that is on its way. True when `lsn` has moved."""
        return self._heard(now=True)

    def _heard(self, now: bool) -> bool:
        """Whether the control record on its way has been acknowledged; waited for if it must be `now`, or is late."""
        if self._told is None:
            return False
        lsn, future = self._told
        if not (now or future.is_done or time.monotonic() > self._told_until):
            return False
        self._wait(lambda: future.get(timeout=PATIENCE))
        self._told, self.lsn = None, lsn
        return True

    def _tell(self, lsn: int, at: Boundary | None, truncates: list[Truncated] | None = None) -> Any:
        found = Control(
            self.name,
            self._control,
            self._system,
            lsn,
            at.at if at is not None else records.now(),
            at.commit if at is not None else False,
            {topic: list(ends) for topic, ends in self._ends.items()},
            self._messages if at is not None else [],
            truncates or [],
            pulse=at is not None and self._pulse and not (self._ends or self._messages),
        )
        self._control += 1
        self._ends.clear()
        if at is not None:
            self._messages, self._pulse = [], True
        self._told_until = time.monotonic() + client.DELIVERY_MS / 1000
        with client.translated():
            return self._producer.send(self._relay.topics.control, control.encode(found), partition=0)

    def close(self) -> None:
        client.end(self._producer)

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
            psycopg.connect(self._relay.target_dsn, autocommit=True, connect_timeout=5) as target,
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
        with (
            translated_errors("the source"),
            psycopg.connect(self._relay.source_dsn, options=SESSION_OPTIONS, connect_timeout=5) as source,
        ):
            row = source.execute(query, [change.after[name] for name in route.source_key]).fetchone()
        values = dict(zip(missing, row if row is not None else [None] * len(missing), strict=True))
        return _with_after(change, {**change.after, **values})


def _moves(change: Change, route: Route) -> bool:
    before, after = change.before, change.after
    if change.op != "u" or before is None or after is None:
        return False
    return any(name in before and before[name] != after.get(name) for name in route.source_key)


def _with_after(change: Change, after: dict[str, Any]) -> Change:
    return Change(change.op, change.tx, change.lsn, change.relation, change.before, after, None, change.snapshot)
