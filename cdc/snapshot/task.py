"""One request, step by step: strangers, rows (or blocks that a first fill left), keys to be read again. Reader
thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from cdc.apply import parked
from cdc.apply.route import Route, Routes
from cdc.capture.raw import Values
from cdc.mapping import ConversionError, MappingError
from cdc.snapshot import chunks
from cdc.snapshot.brake import Brake
from cdc.snapshot.chunks import Blocks
from cdc.snapshot.progress import Progress
from cdc.snapshot.requests import Key, Request, Scope, Step
from cdc.snapshot.strangers import TargetKeys, absent, makers
from cdc.snapshot.table import describe, names_of, numbered, read, reading
from cdc.snapshot.tap import Cancelled, Pending
from cdc.snapshot.window import Chunk, Window

# Keys of the target that are looked up at the source at once; only those it lacks need a window.
STRANGERS = 10_000
# A chunk whose window saw too many changes is read again with half the rows, down to so many.
LEAST_ROWS = 10
# So often keys are looked for that must be read again, since they were moved while they were read.
ROUNDS = 20

log = structlog.get_logger("cdc.snapshot")


class Marks(Protocol):
    """What a task asks of the stream that it runs beside."""

    def window(self, pending: Pending, read_chunk: Callable[[], Chunk]) -> int | None:
        """How many rows were removed; None: nothing was written, do it again."""

    @contextmanager
    def watching(self, route: Route, request: Request) -> Iterator[None]:
        """Meanwhile the table's changes are looked at, and keys that must be read again are remembered."""
        yield

    def complete(self, route: Route) -> None:
        """All rows were read: a partial update that finds no row is again one that must be parked."""


class Task:
    def __init__(
        self,
        marks: Marks,
        source: psycopg.Connection[Any],
        target: psycopg.Connection[Any],
        request: Request,
        routes: Routes,
        brake: Brake,
        progress: Progress,
    ) -> None:
        """Raises: TableRefused."""
        self._marks, self._source, self._target = marks, source, target
        self._request, self._brake, self._progress = request, brake, progress
        self._route = route = reading(routes, request.table)
        self._makers = makers(routes, request.table)
        self._scope = Scope.of(request.scope)
        self._keys = chunks.keys_of(source, route.source, route.source_key)
        self._table = describe(source, route.source, route.source_key, route.source_columns)
        self._rows = brake.limits.chunk_rows
        self._waits: str | None = None

    def run(self) -> None:
        """Goes on where the request stands. Raises: Cancelled, Interrupted, TargetOwns, Transient."""
        self._begin()
        with self._marks.watching(self._route, self._request):
            step, position = self._request.step, self._request.position
            at = tuple(position) if position is not None else None
            if step == "blocks" and not self._heap_is_the_same():
                step, at = "strangers", None
            if step == "blocks":
                self._blocks()
                step = "again"
            if step == "strangers":
                self._strangers(at)
                step, at = "rows", None
            if step == "rows":
                self._read_keys(at) if self._scope.keys is not None else self._read_range(at)
            self._read_again()
        self._update("state = 'done', position = NULL, waits = NULL, ended_at = clock_timestamp()", [])
        log.info("table read again", stream=self._request.stream, table=self._request.table)

    # ---- steps

    def _strangers(self, position: Key | None) -> None:
        if self._scope.keys is not None:
            return
        self._progress.step = "strangers"
        for route in self._makers:
            self._strangers_of(route, position if len(self._makers) == 1 else None)  # a position is one target's

    def _strangers_of(self, route: Route, position: Key | None) -> None:
        there = TargetKeys.of(self._target, route)
        try:
            while found := there.after(position, self._scope, STRANGERS):
                self._pause()
                position = found[-1][0]
                if lacking := absent(self._source, self._keys, [key for _, key in found]):
                    gone = [tuple(text.decode() for text in key) for key in lacking]
                    while not self._window("strangers", position, partial(self._still, gone)):
                        pass
                else:
                    self._update("position = %s", [Jsonb(position)])
        except (ConversionError, MappingError) as e:
            log.warning("rows that the source lacks are not looked for", table=route.target, reason=str(e))

    def _read_range(self, position: Key | None) -> None:
        self._progress.step = "rows"
        more = True
        while more:
            self._pause()
            size = self._rows
            pending = Pending(Window(self._route), self._request)
            if self._done(pending, partial(self._next_rows, pending, position, size)):
                rows = pending.chunk.rows if pending.chunk is not None else ()
                position = tuple(pending.position) if pending.position is not None else None
                more = len(rows) >= size
                self._brake.passed(len(rows))

    def _read_keys(self, position: Key | None) -> None:
        self._progress.step = "rows"
        keys = self._scope.keys or ()
        done = int(position[0]) if position else 0
        while done < len(keys):
            self._pause()
            part = keys[done : done + self._rows]
            if self._window("rows", (str(done + len(part)),), partial(self._at, part)):
                done += len(part)
                self._brake.passed(len(part))

    def _blocks(self) -> None:
        self._progress.step = "blocks"
        while (left := self._target.execute(NEXT_BLOCKS, [self._request.id]).fetchone()) is not None:
            self._pause()
            heap = chunks.heap_of(self._source, self._route.source)
            first, end = left
            stop = first + max(1, self._rows * max(heap.blocks, 1) // max(self._request.expected or 0, 1))
            last = stop >= (end if end is not None else heap.blocks)
            pending = Pending(Window(self._route), self._request, step="blocks")
            pending.also = partial(self._strike, first, None if last else stop)
            if self._done(pending, partial(self._in, Blocks(first, end if last else stop))):
                self._brake.passed(len(pending.chunk.rows) if pending.chunk is not None else 0)

    def _read_again(self) -> None:
        """Keys that are parked, once; keys that were moved, until there are none."""
        self._update("step = 'again', position = NULL", [])
        self._progress.step = "again"
        self._marks.complete(self._route)
        # What was looked at before that is written, and remembered, when an empty window has passed.
        while not self._window("again", None, lambda: Chunk(self._table)):
            pass
        keys = {key for key in self._parked() if self._scope.whole or key in (self._scope.keys or ())}
        for _ in range(ROUNDS):
            rows = self._target.execute("SELECT key FROM banyan.snapshot_again WHERE snapshot = %s", [self._request.id])
            moved = {tuple(key) for (key,) in rows}
            wanted = sorted(keys | moved)
            if not wanted:
                return
            keys = set()
            for start in range(0, len(wanted), self._rows):
                self._pause()
                part = wanted[start : start + self._rows]
                while not self._window("again", None, partial(self._at, part), partial(self._forget, part)):
                    pass

    # ---- what they share

    def _window(
        self,
        step: Step,
        position: Sequence[str] | None,
        read_chunk: Callable[[], Chunk],
        also: Callable[[psycopg.Connection[Any]], object] = lambda target: None,
    ) -> bool:
        pending = Pending(Window(self._route), self._request, step=step, position=position, also=also)
        return self._done(pending, read_chunk)

    def _done(self, pending: Pending, read_chunk: Callable[[], Chunk]) -> bool:
        """False when nothing was written: fewer rows next time."""
        removed = self._marks.window(pending, read_chunk)
        if removed is None:
            self._rows = max(LEAST_ROWS, self._rows // 2)
            return False
        self._progress.removed += removed
        return True

    def _next_rows(self, pending: Pending, after: Key | None, size: int) -> Chunk:
        order = sql.SQL("ORDER BY {} LIMIT {}").format(self._keys.names, sql.Literal(size))
        where = self._keys.within(self._scope, after)
        rows = self._read(chunks.select(self._route.source, names_of(self._table), where, order))
        pending.position = self._key_of(rows[-1]) if rows else after
        return Chunk(self._table, rows)

    def _in(self, blocks: Blocks) -> Chunk:
        query = chunks.select(self._route.source, names_of(self._table), chunks.in_blocks(blocks))
        return Chunk(self._table, self._read(query))

    def _strike(self, first: int, stop: int | None, target: psycopg.Connection[Any]) -> None:
        """Blocks that were copied, off the list of what is left."""
        query = STRIKE if stop is None else SHORTEN
        target.execute(query, {"snapshot": self._request.id, "first": first, "stop": stop})

    def _forget(self, keys: Sequence[Key], target: psycopg.Connection[Any]) -> None:
        target.execute(FORGET, [self._request.id, [json.dumps(key) for key in keys]])

    def _at(self, keys: Sequence[Key]) -> Chunk:
        query = self._keys.rows_at(keys, [column.name for column in self._table.relation.columns])
        return Chunk(self._table, self._read(query), absent(self._source, self._keys, keys))

    def _still(self, gone: Sequence[Key]) -> Chunk:
        return Chunk(self._table, (), absent(self._source, self._keys, gone))

    def _read(self, query: sql.Composable) -> list[Values]:
        return list(read(self._source, query))

    def _key_of(self, values: Values) -> Key:
        at = numbered(self._route.source_key, self._table)
        return tuple([values[n].decode() for n in at])

    def _parked(self) -> list[Key]:
        found = parked.load_keys(self._target, self._request.stream)
        keys = [json.loads(key) for table, key in found if table == self._route.source]
        return [tuple(map(chunks.text_of, key)) for key in keys if None not in key]

    def _begin(self) -> None:
        self._progress.table = self._request.table
        self._brake.limit(self._request.rows_per_s)
        if self._scope.keys is not None:
            rows = len(self._scope.keys)
        else:
            where = self._keys.within(self._scope, None)
            rows = chunks.expected(self._source, chunks.select(self._route.source, sql.SQL("1"), where))
        self._target.execute(
            "UPDATE banyan.snapshot SET state = 'running', expected = coalesce(expected, %s), problem = NULL,"
            " began_at = coalesce(began_at, clock_timestamp()) WHERE id = %s AND state IN ('waiting', 'running')",
            [rows, self._request.id],
        )

    def _heap_is_the_same(self) -> bool:
        if chunks.heap_of(self._source, self._route.source).file == self._request.heap:
            return True
        log.warning("the table was rewritten: it is read again as a whole", table=self._route.source)
        self._target.execute("DELETE FROM banyan.snapshot_blocks WHERE snapshot = %s", [self._request.id])
        self._update("step = 'strangers', position = NULL, rows = 0", [])
        return False

    def _pause(self) -> None:
        """Between two chunks: cancelled? is the source too busy?"""
        if self._waits is not None:
            self._waits = None
            self._update("waits = NULL", [])
        elif self._target.execute(CANCELLED, [self._request.id]).fetchone() is None:
            raise Cancelled
        self._brake.look_and_hold(self._source, self._tell)

    def _tell(self, waits: str) -> None:
        if waits != self._waits:
            self._update("waits = %s", [waits])
            self._waits = waits

    def _update(self, what: str, parameters: list[Any]) -> None:
        """Raises: Cancelled when the request is not running any more."""
        query = f"UPDATE banyan.snapshot SET {what} WHERE id = %s AND state = 'running'"  # noqa: S608  constants
        done = self._target.execute(query, [*parameters, self._request.id])
        if not done.rowcount:
            raise Cancelled


CANCELLED = "SELECT 1 FROM banyan.snapshot WHERE id = %s AND state = 'running'"
NEXT_BLOCKS = """
SELECT first_block, end_block FROM banyan.snapshot_blocks WHERE snapshot = %s ORDER BY first_block LIMIT 1
"""
STRIKE = "DELETE FROM banyan.snapshot_blocks WHERE snapshot = %(snapshot)s AND first_block = %(first)s"
SHORTEN = """
UPDATE banyan.snapshot_blocks SET first_block = %(stop)s WHERE snapshot = %(snapshot)s AND first_block = %(first)s
"""
FORGET = "DELETE FROM banyan.snapshot_again WHERE snapshot = %s AND key = ANY(%s::jsonb[])"
