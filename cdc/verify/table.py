"""One table of a domain: chunk by chunk through windows, and what was under way again until it can be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import psycopg

from cdc.mapping import Side, TableMapping, reader
from cdc.mapping.reader import Shape
from cdc.verify import chunks, rows
from cdc.verify.chunks import Chunk
from cdc.verify.compare import Comparison, ranges
from cdc.verify.hashed import Found, Hashed
from cdc.verify.report import Difference, TableReport
from cdc.verify.window import SIDES, Stalled, Window, Windows

CHUNK_ROWS = 200_000
# The same where rows come to Python.
CHUNK_ROWS_IN_PYTHON = 20_000
DRIFT_ENOUGH = 10_000  # so many differing keys in a table say all there is to say
ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"

# Called after each chunk with the rows that it read: the throttle.
Pace = Callable[[int], None]


@dataclass(slots=True)
class Comparing:
    """The comparison of one table. `rounds` bounds how often a key that is under way is looked at again."""

    table: TableMapping
    windows: Windows
    workers: Executor
    rounds: int
    progress: Callable[[str, int, int], None]
    pace: Pace
    chunk_rows: int | None = None
    drift: list[Difference] = field(default_factory=list)
    waiting: list[Any] = field(default_factory=list)
    counted: dict[Side, int] = field(default_factory=lambda: {"legacy": 0, "service": 0})
    rechecked: int = 0
    unsettled: int = 0
    complete: bool = True
    _comparison: Comparison = field(init=False)
    _shapes: dict[Side, Shape] = field(init=False)
    _keys: dict[Side, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        """Raises: MappingError."""
        table, asking = self.table, self.windows.asking
        comparison = self._comparison = Comparison.of(table)
        columns: dict[Side, tuple[str, ...]] = {
            "legacy": comparison.legacy_columns,
            "service": comparison.service_columns,
        }
        self._keys = {"legacy": table.forward.source_key, "service": table.forward.key}
        self._shapes = {side: reader.shape(asking[side], table.table(side), columns[side]) for side in SIDES}

    def run(self) -> TableReport:
        """Raises: Transient, MappingError. What a stalled stream keeps from being said is `unsettled`."""
        asking = self.windows.asking
        hashed = Hashed.of(self._comparison, self._shapes, asking)
        names = {side: self.table.table(side) for side in SIDES}
        size = self.chunk_rows or (CHUNK_ROWS if hashed else CHUNK_ROWS_IN_PYTHON)
        whole = not chunks.divisible(self._shapes, self._keys)
        leading = {side: self._keys[side][0] for side in SIDES}
        try:
            for chunk in [chunks.WHOLE] if whole else chunks.cut(asking, names, leading, size):
                self.pace(self._chunk(chunk, hashed))
                if len(self.drift) >= DRIFT_ENOUGH:
                    self.complete = False
                    break
                if len(self.waiting) >= rows.KEYS_PER_QUERY:
                    self._again()
            self._again()
        except Stalled:
            self.complete = False
            self.unsettled += max(1, len(self.waiting))
        return self._report()

    def _chunk(self, chunk: Chunk, hashed: Hashed | None) -> int:
        """How many rows it had."""
        enough = DRIFT_ENOUGH - len(self.drift)
        with self.windows.open(self.table) as window:
            if hashed is not None:
                found = hashed.compare(window.connections, chunk, self.workers, enough)
            else:
                found = self._in_python(window, chunk, enough)
            for side in SIDES:
                self.counted[side] += found.rows[side]
            self._tell()
            self._judge(window, found.suspects)
            return max(found.rows.values())

    def _in_python(self, window: Window, chunk: Chunk, enough: int) -> Found:
        legacy, service = (
            rows.of_chunk(window.connections[side], self._shapes[side], self._keys[side], chunk) for side in SIDES
        )
        counted: dict[Side, int] = {"legacy": 0, "service": 0}
        suspects: list[Any] = []
        for here, there in ranges(legacy, service, self._comparison.key_of):
            counted["legacy"] += len(here)
            counted["service"] += len(there)
            suspects += self._comparison.suspects(here, there)
            if len(suspects) >= enough:
                break
        return Found(counted, suspects[:enough])

    def _again(self) -> None:
        """What was under way, in windows of its own."""
        for _ in range(self.rounds):
            if not self.waiting:
                return
            keys, self.waiting = self.waiting, []
            self.rechecked += len(keys)
            for start in range(0, len(keys), rows.KEYS_PER_QUERY):
                with self.windows.open(self.table) as window:
                    self._judge(window, keys[start : start + rows.KEYS_PER_QUERY])
        self.unsettled += len(self.waiting)
        self.waiting = []

    def _judge(self, window: Window, suspects: Sequence[Any]) -> None:
        """Drift, or under way; what is alike in full after all is neither."""
        if not suspects:
            return
        differing = self._differences(window.connections, suspects)
        if not differing:
            return
        touched = window.touched()
        for key, difference in differing.items():
            if touched.covers(self.table.legacy, key if isinstance(key, tuple) else (key,)):
                self.waiting.append(key)
            else:
                self.drift.append(difference)

    def _differences(
        self, connections: Mapping[Side, psycopg.Connection[Any]], keys: Sequence[Any]
    ) -> dict[Any, Difference]:
        here, there = (
            rows.of_keys(connections[side], self._shapes[side], self._keys[side], keys, self._comparison.key_of)
            for side in SIDES
        )
        found = {key: self._comparison.difference(key, here.get(key), there.get(key)) for key in keys}
        return {key: difference for key, difference in found.items() if difference is not None}

    def _tell(self) -> None:
        legacy = self.counted["legacy"]
        row = self.windows.asking["legacy"].execute(ESTIMATE, (reader.name(self.table.legacy).as_string(),)).fetchone()
        self.progress(self.table.legacy, legacy, max(row[0] if row else 0, legacy))

    def _report(self) -> TableReport:
        kinds = [difference.kind for difference in self.drift]
        return TableReport(
            table=self.table.legacy,
            service_table=self.table.service,
            legacy_rows=self.counted["legacy"],
            service_rows=self.counted["service"],
            missing=kinds.count("missing"),
            extra=kinds.count("extra"),
            different=kinds.count("different"),
            rechecked=self.rechecked,
            unsettled=self.unsettled,
            complete=self.complete,
            drifted=tuple(self.drift),
        )
