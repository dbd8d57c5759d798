"""A window: two snapshots, one of each side, and the keys that may differ between them because they are under way.

Nobody is stopped and nothing is waited for but the streams. Why every other difference is drift:

1. Each side's **own** transactions (those without an applier's origin) are read from its log, by a slot of our own,
   from before the first window on (cdc.verify.touches). When it was made, all that was committed before was visible.
2. The window's first snapshot F is taken on the side that owns the writes. It shows a set of transactions, named by
   `pg_current_snapshot()`. Not a position: a commit is in the log before others can see it (its fsync lies between), so
   a low mark by LSN would leave out what the reader of F does not see and the applier has already brought.
3. The high mark: the end of the log as it is after F. Everything that F shows lies before it. Wait until the applier
   reports it (`banyan.stream.source_lsn`, which is written in the transaction that applies, so it is exact in any
   snapshot of the target).
4. The second snapshot S is taken. In it stands the applier's position A. What came from the other side to here is in
   S exactly if it ended before A; through a transport that may be ahead of its position, at least then.
5. Then the log is read on to its end as it is after S, so everything that S may show was read.
6. T = the keys of each transaction that its own side's snapshot does not show, or that did not end before A at the
   other side; by both streams, whose targets are the two snapshots. A key outside T was touched by exactly the same
   transactions in both snapshots, in the same order: one side writes a wave at a time, and the next owner begins when
   the last one's marker was applied. So its rows are images of each other, or it is drift, at once.

**Direction, and a change of hands in mid-window.** Step 6 does not ask who owns. Both streams count alike, whichever
snapshot came first; the order F, S only keeps T small. Of a table that changes hands a stream is left out if both
snapshots say that its source owns no wave: what that side wrote while it did own was applied here before the other's
first write (the marker again), so it is in both. If a snapshot says that somebody else has come to own, or that a wave
is moving, while that side's stream was left out, the window is void: nothing is said of what differs in it, and the
next window has both.

**Bounded.** A ring that was too small, and a window that is void, call nothing drift; their keys are looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from cdc.change import HEARTBEAT, lsn_number
from cdc.emit import EMIT_FLUSHED, EMIT_TRANSACTION
from cdc.errors import Transient
from cdc.mapping import Direction, Side, TableMapping
from cdc.mapping import Mapping as DomainMapping
from cdc.verify.ring import Ring, Touched
from cdc.verify.snapshot import Snapshot
from cdc.verify.touches import Carrier, Touches, captured

# The insert position lies behind every commit that anybody can see, also with synchronous_commit off.
NOW = "SELECT pg_current_wal_insert_lsn()::text"
STREAM = "SELECT state, source_lsn::text FROM banyan.stream WHERE stream = %s"
OWNERS = "SELECT DISTINCT owner FROM banyan.ownership WHERE domain = %s"
HAS = "SELECT to_regclass('banyan.stream') IS NOT NULL, to_regclass('banyan.ownership') IS NOT NULL"
POLL_S = 0.004

SIDES: tuple[Side, Side] = ("legacy", "service")
ENDS: Mapping[Direction, tuple[Side, Side]] = {"forward": ("legacy", "service"), "reverse": ("service", "legacy")}


class Stalled(Exception):
    """Raised when a stream did not bring in time what its source holds: nothing can be said of what differs."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one side's snapshot shows: its transactions, who owns, and how far each stream that ends here has come."""

    snapshot: Snapshot
    owners: frozenset[str]
    positions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Open while its connections' transactions are. `void`: what differs in it may be anything."""

    connections: Mapping[Side, psycopg.Connection[Any]]
    looks: Mapping[Side, Look]
    waited: frozenset[Direction]
    void: bool
    _windows: Windows

    def touched(self) -> Touched:
        """T of step 6, after reading on (step 5). Raises: Transient."""
        if self.void:
            return Touched({}, lost=True)
        return Touched.union(self._windows.touched(direction, self.looks) for direction in sorted(self.waited))


@dataclass(slots=True)
class Windows:
    """`reading`: connections in REPEATABLE READ; `asking`: in autocommit. Our caller's, as is the end of both."""

    mapping: DomainMapping
    reading: Mapping[Side, psycopg.Connection[Any]]
    asking: Mapping[Side, psycopg.Connection[Any]]
    carriers: Mapping[Direction, Carrier]
    wait_s: float
    ring_keys: int | None = None
    stalled: set[str] = field(default_factory=set)
    _touches: dict[Direction, Touches] = field(default_factory=dict)
    _has: dict[Side, tuple[bool, bool]] = field(default_factory=dict)

    def close(self) -> None:
        for touches in self._touches.values():
            touches.close()
        self._touches.clear()

    @contextmanager
    def open(self, table: TableMapping) -> Iterator[Window]:
        """Both sides of this table, seen so that what differs can be judged. Raises: Stalled, Transient."""
        needed = self._needed(table, self.owners())
        self._listen(needed)
        order = SIDES if "forward" in needed or not needed else SIDES[::-1]
        with ExitStack() as stack:
            looks: dict[Side, Look] = {}
            for side in order:
                for direction in needed:
                    if ENDS[direction][1] == side:
                        self.passed(direction)
                stack.callback(self.reading[side].rollback)
                looks[side] = self._look(side)
            owned = frozenset().union(*(look.owners for look in looks.values()))
            void = not self._needed(table, owned) <= needed
            for direction in needed:
                source, target = ENDS[direction]
                position = looks[target].positions.get(direction)
                if position is None:
                    void = True
                else:
                    self._touches[direction].ring.forget(looks[source].snapshot, position)
            yield Window(self.reading, looks, needed, void, self)

    def touched(self, direction: Direction, looks: Mapping[Side, Look]) -> Touched:
        """Of one stream. Raises: Transient."""
        source, target = ENDS[direction]
        return self.since(direction, looks[source].snapshot, looks[target].positions[direction])

    def since(self, direction: Direction, source: Snapshot, applied: int) -> Touched:
        """The keys of a stream's transactions that `source` does not see, or that did not end before `applied`."""
        self.listen(direction)
        touches = self._touches[direction]
        touches.require_past(self.mark(ENDS[direction][0]), self.wait_s)
        return touches.ring.between(source, applied)

    def owners(self) -> frozenset[str]:
        """Of all waves, by both databases; none without a guard."""
        return frozenset().union(*(self._owners(side, self.asking[side]) for side in SIDES))

    def listen(self, direction: Direction) -> None:
        """Raises: Transient."""
        if direction not in self._touches:
            ring = Ring(self.ring_keys) if self.ring_keys is not None else None
            carrier = self.carriers[direction]
            self._touches[direction] = Touches(carrier, captured(self.mapping, direction), ring)

    def mark(self, side: Side) -> int:
        """The end of the side's log, which its readers are told of at once."""
        connection = self.asking[side]
        (lsn,) = _row(connection.execute(NOW).fetchone())
        emit = EMIT_FLUSHED if connection.info.server_version >= 170000 else EMIT_TRANSACTION
        connection.execute(emit, [HEARTBEAT])
        return lsn_number(lsn)

    def _listen(self, needed: Iterable[Direction]) -> None:
        for direction in needed:
            self.listen(direction)

    def _needed(self, table: TableMapping, owners: frozenset[str]) -> frozenset[Direction]:
        """The streams that may have something of the table under way. Without a guard nobody says who writes: both."""
        found: set[Direction] = set()
        for direction, (_, target) in ENDS.items():
            idle = owners <= {target} if table.direction == "both" and owners else False
            if direction not in self.carriers or idle or (table.direction, direction) == ("forward", "reverse"):
                continue
            if self._position(direction) is not None or self._state(direction) == "snapshot":
                found.add(direction)
        return frozenset(found)

    def passed(self, direction: Direction) -> None:
        """Wait until the stream has brought what its source holds now. Raises: Stalled."""
        lsn = self.mark(ENDS[direction][0])
        deadline = time.monotonic() + self.wait_s
        while (position := self._position(direction)) is None or position < lsn:
            if time.monotonic() > deadline:
                self.stalled.add(self.carriers[direction].stream)
                raise Stalled
            # A NOTIFY with each of the applier's commits would put all commits of the target's database in one queue.
            time.sleep(POLL_S)

    def _look(self, side: Side) -> Look:
        connection = self.reading[side]
        (text,) = _row(connection.execute("SELECT pg_current_snapshot()::text").fetchone())
        positions: dict[str, int] = {}
        for direction, (_, target) in ENDS.items():
            if target == side and direction in self.carriers and self._known(side)[0]:
                found = self._read(connection, direction)
                if found is not None and found[1] is not None:
                    positions[direction] = found[1]
        return Look(Snapshot.parse(text), self._owners(side, connection), positions)

    def _owners(self, side: Side, connection: psycopg.Connection[Any]) -> frozenset[str]:
        if not self._known(side)[1]:
            return frozenset()
        return frozenset(owner for (owner,) in connection.execute(OWNERS, [self.mapping.domain]).fetchall())

    def _position(self, direction: Direction) -> int | None:
        found = self._read(self.asking[ENDS[direction][1]], direction)
        return found[1] if found else None

    def _state(self, direction: Direction) -> str | None:
        found = self._read(self.asking[ENDS[direction][1]], direction)
        return found[0] if found else None

    def _read(self, connection: psycopg.Connection[Any], direction: Direction) -> tuple[str, int | None] | None:
        if not self._known(ENDS[direction][1])[0]:
            return None
        row = connection.execute(STREAM, [self.carriers[direction].stream]).fetchone()
        return (row[0], lsn_number(row[1]) if row[1] else None) if row else None

    def streams_end_at(self, side: Side) -> bool:
        """Whether this side keeps the state of streams."""
        return self._known(side)[0]

    def _known(self, side: Side) -> tuple[bool, bool]:
        """Whether this side has streams, and a guard."""
        if side not in self._has:
            stream, ownership = _row(self.asking[side].execute(HAS).fetchone())
            self._has[side] = (stream, ownership)
        return self._has[side]


def _row(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if row is None:
        raise Transient("a database gave no answer")
    return row
