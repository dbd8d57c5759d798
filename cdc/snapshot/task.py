"""One request, step by step: strangers, rows (or blocks that a first fill left), keys to be read again. Reader
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import psycopg
import structlog
from psycopg.types.json import Jsonb

from cdc.apply.route import Route, Routes
from cdc.mapping import ConversionError, MappingError
from cdc.snapshot.brake import Brake
from cdc.snapshot.chunks import Blocks
from cdc.snapshot.progress import Progress
from cdc.snapshot.reader import Reader, Rewritten
from cdc.snapshot.record import Record
from cdc.snapshot.requests import Key, Request, Scope, Step
from cdc.snapshot.strangers import STRANGERS, TargetKeys, makers
from cdc.snapshot.table import reading
from cdc.snapshot.tap import Pending
from cdc.snapshot.window import Chunk, Window

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
        self._route = reading(routes, request.table)
        self._makers = makers(routes, request.table)
        self._scope = Scope.of(request.scope)
        self._reader = Reader(source, self._route, self._scope)
        self._record = Record(target, request)
        self._rows = brake.limits.chunk_rows

    def run(self) -> None:
        """Goes on where the request stands. Raises: Cancelled, Interrupted, TargetOwns, Transient."""
        self._progress.table = self._request.table
        self._brake.limit(self._request.rows_per_s)
        self._record.begin(self._reader.expected())
        with self._marks.watching(self._route, self._request):
            step, position = self._request.step, self._request.position
            at = tuple(position) if position is not None else None
            if step == "blocks":
                try:
                    self._blocks()
                    step = "again"
                except Rewritten:
                    log.warning("the table was rewritten: it is read again as a whole", table=self._route.source)
                    self._record.start_over()
                    step, at = "strangers", None
            if step == "strangers":
                self._strangers(at)
                step, at = "rows", None
            if step == "rows":
                self._read_keys(at) if self._scope.keys is not None else self._read_range(at)
            self._read_again()
        self._record.end()
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
                if gone := self._reader.gone([key for _, key in found]):  # only these need a window
                    while not self._window("strangers", position, partial(self._reader.still_gone, gone)):
                        pass
                else:
                    self._record.update("position = %s", [Jsonb(position)])
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

    def _next_rows(self, pending: Pending, after: Key | None, size: int) -> Chunk:
        chunk = self._reader.after(after, size)
        pending.position = self._reader.last_key(chunk) or after
        return chunk

    def _read_keys(self, position: Key | None) -> None:
        self._progress.step = "rows"
        keys = self._scope.keys or ()
        done = int(position[0]) if position else 0
        while done < len(keys):
            self._pause()
            part = keys[done : done + self._rows]
            if self._window("rows", (str(done + len(part)),), partial(self._reader.at, part)):
                done += len(part)
                self._brake.passed(len(part))

    def _blocks(self) -> None:
        self._progress.step = "blocks"
        while (left := self._record.blocks()) is not None:
            self._pause()
            heap = self._reader.heap()
            stop = left.first + max(1, self._rows * max(heap.blocks, 1) // max(self._request.expected or 0, 1))
            last = stop >= (left.end if left.end is not None else heap.blocks)
            pending = Pending(Window(self._route), self._request, step="blocks")
            pending.also = partial(self._record.strike, left.first, None if last else stop)
            blocks = Blocks(left.first, left.end if last else stop)
            if self._done(pending, partial(self._reader.within, blocks, self._request.heap)):
                self._brake.passed(len(pending.chunk.rows) if pending.chunk is not None else 0)

    def _read_again(self) -> None:
        """Keys that are parked, once; keys that were moved, until there are none."""
        self._record.update("step = 'again', position = NULL", [])
        self._progress.step = "again"
        self._marks.complete(self._route)
        # What was looked at before that is written, and remembered, when an empty window has passed.
        while not self._window("again", None, lambda: self._reader.nothing):
            pass
        parked = self._record.parked(self._route.source)
        keys = parked if self._scope.whole else parked & set(self._scope.keys or ())
        for _ in range(ROUNDS):
            wanted = sorted(keys | self._record.moved())
            if not wanted:
                return
            keys = set()
            for start in range(0, len(wanted), self._rows):
                self._pause()
                part = wanted[start : start + self._rows]
                while not self._window(
                    "again", None, partial(self._reader.at, part), partial(self._record.forget, part)
                ):
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
        pending.rate = self._progress.rate()
        removed = self._marks.window(pending, read_chunk)
        if removed is None:
            self._rows = max(LEAST_ROWS, self._rows // 2)
            return False
        self._progress.removed += removed
        return True

    def _pause(self) -> None:
        """Between two chunks: cancelled? is the source too busy?"""
        self._record.tell(None)
        self._brake.look_and_hold(self._source, self._record.tell)
