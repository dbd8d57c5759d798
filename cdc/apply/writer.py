"""Writes changes into the target's open transaction; what the target refuses is narrowed down to its key and parked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import structlog

from cdc.apply import parked
from cdc.apply.operations import Operation, mapped, operation
from cdc.apply.parked import Key
from cdc.apply.route import Route, Routes
from cdc.apply.runs import Run, gather, last_words
from cdc.apply.runwriter import RunWriter
from cdc.apply.session import is_poison, stream_error
from cdc.change import Change
from cdc.errors import CdcError, SchemaChanged, TooManyParked, first_line

log = structlog.get_logger("cdc.apply")


class Writer:
    """Bound to one applier session. Every method works inside the caller's transaction."""

    def __init__(self, connection: psycopg.Connection[Any], stream: str, routes: Routes) -> None:
        self.connection, self.stream, self.routes = connection, stream, routes
        self.parked: set[Key] = set()
        self.fresh: set[Key] = set()
        self._runs = RunWriter(connection, routes)
        self._freed: set[Key] = set()  # parked parts whose wide row has come or gone
        self._parked_last: dict[Key, Change] = {}

    @property
    def tolerates(self) -> frozenset[str]:
        """Source tables whose partial updates may meet no row."""
        return self._runs.tolerates

    @tolerates.setter
    def tolerates(self, tables: frozenset[str]) -> None:
        self._runs.tolerates = tables

    def begin(self) -> None:
        """A new target transaction. Keys that a person replayed or discarded meanwhile are free again.

        The order matters: 1. the stream's row is locked, 2. the parked keys are read. A replay holds the same lock,
        so it ends either before 1 (then we see its key free and write after it) or begins after our commit.
        """
        self._runs.begin()
        self.fresh.clear()
        if self.parked:
            self.connection.execute("SELECT 1 FROM banyan.stream WHERE stream = %s FOR UPDATE", [self.stream])
            self.parked = parked.load_keys(self.connection, self.stream)

    def prepare(self, changes: Sequence[Change], net: bool = False) -> list[Run] | None:
        """The runs of these changes when all of them can be written straight away, None when one needs care. `net`:
        what they amount to; the target may refuse that, and then takes them one by one.
        """
        operations: list[Operation] = []
        try:
            for change in changes:
                for part, route in mapped(change, self.routes):
                    if self.parked and (part.op == "t" or self._key(part, route) in self.parked):
                        return None
                    operations.append(operation(part, route))
        except Exception as e:
            if is_poison(e):
                return None
            raise
        return gather(last_words(operations) if net else operations)

    def write(self, changes: Sequence[Change]) -> None:
        """With care: what fails is halved until the guilty changes are found and parked. Order per key is kept.

        Raises: TooManyParked and what concerns the stream as a whole.
        """
        segment: list[tuple[Change, Route]] = []
        for change in changes:
            for part, route in mapped(change, self.routes):
                if part.op == "t":  # frees the table's parked keys for what follows
                    self._halve(segment)
                    self._halve([(part, route)])
                    segment = []
                else:
                    segment.append((part, route))
        self._halve(segment)
        for key in sorted(self.fresh):
            self._retry(key)
        self._free()

    def write_runs(self, runs: Sequence[Run]) -> None:
        """The fast way, which fails as a whole."""
        self._runs.write(runs)

    def send(self, run: Run) -> None:
        """Single statements; safe in a pipeline unless rows must be counted (patch, move)."""
        self._runs.send(run)

    def _halve(self, parts: Sequence[tuple[Change, Route]]) -> None:
        ready = self._without_parked(parts)
        if not ready:
            return
        self.connection.execute("SAVEPOINT part")
        filled = self._runs.filled
        try:
            self.write_runs(gather([operation(change, route) for change, route in ready]))
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            self.connection.execute("SET CONSTRAINTS ALL DEFERRED")
            self.connection.execute("RELEASE part")
        except Exception as e:
            if not is_poison(e) or _demands(e, ready):
                raise _whole(e) from e
            self.connection.execute("ROLLBACK TO part")
            self._runs.filled = filled  # the rollback has brought back what a temporary table had before
            if len(ready) == 1:
                self._park(*ready[0], reason=_reason(e))
                return
            middle = len(ready) // 2
            self._halve(ready[:middle])
            self._halve(ready[middle:])
        else:
            for change, route in ready:
                if change.op == "t":
                    self._cleared(route)
                elif self.parked:
                    self._note_freed(change, route)

    def _without_parked(self, parts: Sequence[tuple[Change, Route]]) -> list[tuple[Change, Route]]:
        """Changes of parked keys join their queue. What waits for a part is void when the part is deleted."""
        if not self.parked:
            return list(parts)
        ready: list[tuple[Change, Route]] = []
        for change, route in parts:
            if change.op != "t" and (key := self._key(change, route)) in self.parked:
                last = self._parked_last.get(key) is change  # parked a moment ago, for another route of the same table
                if change.snapshot and not last:  # what was read is newer than all that waits
                    parked.discard(self.connection, self.stream, key)
                    self.parked.discard(key)
                    self.fresh.discard(key)
                    ready.append((change, route))
                elif change.op == "d" and not route.makes and len(self.routes.of(change)) == 1:
                    parked.discard(self.connection, self.stream, key)
                    self.parked.discard(key)
                    ready.append((change, route))
                elif not last:
                    self._park(change, route, reason=None)
            else:
                ready.append((change, route))
        return ready

    def _cleared(self, route: Route) -> None:
        parked.clear_table(self.connection, self.stream, route.source)
        self.parked = {key for key in self.parked if key[0] != route.source}

    def _park(self, change: Change, route: Route, reason: str | None) -> None:
        key = self._key(change, route)
        parked.park(self.connection, self.stream, key, change, reason)
        self._parked_last[key] = change
        if reason is not None:
            log.warning("change parked", stream=self.stream, table=key[0], key=key[1], reason=reason)
            self.parked.add(key)
            self.fresh.add(key)
            if len(self.parked) > parked.MAX_KEYS:
                raise TooManyParked(f"more than {parked.MAX_KEYS} keys are parked, last {key[0]} {key[1]}: {reason}")

    def _retry(self, key: Key) -> None:
        """What failed in the middle of a batch may fit at its end (two rows that exchanged a unique value)."""
        if key in self.parked:
            self._replay(key)

    def _note_freed(self, change: Change, route: Route) -> None:
        wide = dict(zip(route.key, route.identity(change), strict=True))
        for part in self.routes.parts(route):
            if (key := parked.canonical(part.source, part.part_key(wide))) in self.parked:
                self._freed.add(key)

    def _free(self) -> None:
        """A part that came before its wide row waits for it, parked."""
        while self._freed:
            self._retry(self._freed.pop())

    def replay(self, key: Key) -> int:
        """Apply the key's queue in order; stops at the first refusal. Returns how many changes still wait.

        What it frees (parts that waited for a wide row) follows.
        """
        left = self._replay(key)
        self._free()
        return left

    def _replay(self, key: Key) -> int:
        waiting = parked.queue(self.connection, self.stream, key)
        for done, item in enumerate(waiting):
            self.connection.execute("SAVEPOINT replay")
            try:
                for part, route in mapped(item.change, self.routes):
                    self.write_runs(gather([operation(part, route)]))
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                self.connection.execute("SET CONSTRAINTS ALL DEFERRED")
            except Exception as e:
                if not is_poison(e):
                    raise _whole(e) from e
                self.connection.execute("ROLLBACK TO replay")
                parked.blame(self.connection, item.id, _reason(e))
                return len(waiting) - done
            parked.remove(self.connection, item.id)
            self.connection.execute("RELEASE replay")
            for part, route in mapped(item.change, self.routes):
                self._note_freed(part, route)
        self.parked.discard(key)
        return 0

    @staticmethod
    def _key(change: Change, route: Route) -> Key:
        return parked.canonical(route.source, route.identity(change))


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2])[:500] if lines else type(error).__name__


def _demands(error: BaseException, parts: Sequence[tuple[Change, Route]]) -> bool:
    """No row is to blame when the target demands a column that the mapping does not fill."""
    if not isinstance(error, psycopg.errors.NotNullViolation):
        return False
    table, column = f"{error.diag.schema_name}.{error.diag.table_name}", error.diag.column_name
    return any(route.target == table and column not in route.columns for _, route in parts)


def _whole(error: Exception) -> Exception:
    if isinstance(error, psycopg.errors.NotNullViolation):
        return SchemaChanged(first_line(error), side="target")
    return stream_error(error) if isinstance(error, psycopg.Error) and not isinstance(error, CdcError) else error
