"""Reads what one side's own transactions touch, over a temporary slot that ends with its connection."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdc.capture import slot as slots
from cdc.capture.assemble import Assembler
from cdc.capture.pgoutput import Decoder
from cdc.capture.replication import Keepalive, ReplicationStream, WalData
from cdc.capture.replication import connect as connect_replication
from cdc.change import Boundary, Change, Event
from cdc.config import Stream, dsn
from cdc.errors import Transient
from cdc.mapping import Direction
from cdc.mapping import Mapping as DomainMapping
from cdc.verify.ring import KEYS_PER_TRANSACTION, Key, Ring, touch_key

FEEDBACK_S = 1.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Carrier:
    """A stream of the domain: its name, where it captures (a role with REPLICATION), and its publication there.

    A repair also needs to know where it applies, and its origin there.
    """

    stream: str
    capture_dsn: str
    publication: str
    apply_dsn: str | None = None
    origin: str | None = None

    @classmethod
    def of(cls, stream: Stream) -> Carrier:
        """By the variables that the stream names. Raises: ConfigError."""
        return cls(
            stream.name, dsn(stream.source_dsn_env), stream.publication, dsn(stream.target_dsn_env), stream.origin
        )


Captured = Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]]
"""Captured table → the mapped (legacy) tables it is compared in, each with its key's columns there."""


def captured(mapping: DomainMapping, direction: Direction) -> Captured:
    found: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
    for table in mapping.moving(direction):
        source = table.source(direction)
        found[source] = (*found.get(source, ()), (table.legacy, table.source_key(direction)))
    return found


class Collector:
    """Events to ring entries. Not thread-safe. `position`: everything that was committed before it is in the ring."""

    def __init__(self, ring: Ring, tables: Captured) -> None:
        self._ring, self._tables = ring, tables
        self._keys: dict[str, set[Key] | None] = {}
        self._xid = 0
        self.position = 0

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Boundary):
                self._ring.add(self._xid, event.lsn, self._keys)
                self._keys = {}
                self.position = max(self.position, event.lsn)
            elif event.relation is not None:
                self._touch(event)

    def _touch(self, change: Change) -> None:
        assert change.relation is not None
        self._xid = change.tx.xid
        for name, columns in self._tables.get(change.relation.name, ()):
            known = self._keys.setdefault(name, set())
            if known is None:
                continue
            if change.op == "t" or len(known) >= KEYS_PER_TRANSACTION:
                self._keys[name] = None
                continue
            for row in (change.before, change.after):
                if row is not None and all(column in row for column in columns):
                    known.add(touch_key([row[column] for column in columns]))


class Touches(threading.Thread):
    """Started when it is entered: from then on nothing that is committed on its side is missed."""

    def __init__(self, carrier: Carrier, tables: Captured, ring: Ring | None = None) -> None:
        super().__init__(name=f"touches-{carrier.stream}", daemon=True)
        self.ring = ring or Ring()
        self._carrier = carrier
        self._collector = Collector(self.ring, tables)
        self._changed = threading.Condition()
        self._halt = threading.Event()
        self._error: BaseException | None = None
        self._decoder, self._assembler = Decoder(), Assembler()
        # Creating a slot waits until every transaction under way has ended: all that was committed before is visible.
        connection = connect_replication(carrier.capture_dsn, f"banyan-verify {carrier.stream}")
        try:
            name = (
                f"banyan_verify_{re.sub('[^a-z0-9_]', '_', carrier.stream)[:30]}_{os.getpid()}_{secrets.token_hex(4)}"
            )
            self.began = slots.create_temporary(connection, name)
            self._stream = ReplicationStream(connection, name, [carrier.publication], self.began)
        except BaseException:
            connection.close()
            raise
        self.start()

    def close(self) -> None:
        self._halt.set()
        self.join(timeout=5)

    def require_past(self, lsn: int, timeout: float) -> None:
        """Wait until everything committed before `lsn` is in the ring. Raises: Transient."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._collector.position < lsn:
                if self._error is not None:
                    raise Transient(f"{self._carrier.stream}: {self._error}") from self._error
                if not self._changed.wait(deadline - time.monotonic()):
                    raise Transient(f"{self._carrier.stream}: the source's own log did not come within {timeout:g} s")

    def run(self) -> None:
        feedback = time.monotonic()
        try:
            while not self._halt.is_set():
                raw, _ = self._stream.read()
                if not raw:
                    self._stream.wait(POLL_S)
                else:
                    events = self._events(raw)
                    with self._changed:
                        self._collector.feed(events)
                        self._changed.notify_all()
                if time.monotonic() >= feedback:
                    feedback = time.monotonic() + FEEDBACK_S
                    self._stream.confirm(self._collector.position)
        except BaseException as e:
            with self._changed:
                self._error = e
                self._changed.notify_all()
        finally:
            self._stream.close()

    def _events(self, raw: list[WalData | Keepalive]) -> list[Event]:
        events: list[Any] = []
        for item in raw:
            if isinstance(item, WalData):
                self._assembler.feed(item.lsn, self._decoder.decode(item.data), events)
        return events
