"""Re-snapshots beside a running stream: a thread reads chunks between two marks in the source's WAL, the apply
thread writes what is still true when the high mark comes through (`cdc.snapshot.window` has the rule and why it
is right).

    reader thread                                    apply thread (`feed`)
    1. emit the low mark, wait                  →    2. meets it: the window is open, touched keys are noted
    3. read the chunk, at a moment that sees
       every transaction which has come through
    4. emit the high mark, wait                 →    5. meets it: everything before it is committed; what is left of the
                                                        chunk and the request's progress go in as one transaction

A transaction of a window holds the waves at the source's side, as those of a fill do. After a crash a request goes
on after the last chunk that was written. When its rows are read, the keys that are parked, and those that were moved
while not all of their columns were known, are read once more by key: a row that was read makes void what waited for
its key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import structlog

from cdc.apply.applier import Applier
from cdc.apply.route import Route, Routes
from cdc.apply.session import connect, stream_error, translated_errors
from cdc.config import Stream
from cdc.errors import CdcError, ConfigError, Transient, first_line
from cdc.snapshot import requests
from cdc.snapshot.brake import Brake, Interrupted
from cdc.snapshot.progress import Progress
from cdc.snapshot.requests import Key, Request
from cdc.snapshot.sight import Sight
from cdc.snapshot.tap import REMEMBERED, WINDOW, Cancelled, Pending, Tap
from cdc.snapshot.task import Task
from cdc.snapshot.window import Chunk
from cdc.snapshot.worker import drop_origins, source_session

# How often whether to stop, and a new request, are looked for, seconds.
LOOK_EVERY, NEW_EVERY = 0.25, 1.0

log = structlog.get_logger("cdc.snapshot")


class Windows:
    """One per session of a stream."""

    def __init__(
        self,
        stream: Stream,
        routes: Routes,
        dsns: tuple[str, str],
        applier: Applier,
        on_progress: Callable[[Progress | None], None] = lambda progress: None,
        on_filled: Callable[[], None] = lambda: None,
    ) -> None:
        self._stream, self._routes, self._dsns = stream, routes, dsns
        self._on_progress, self._on_filled = on_progress, on_filled
        self._target = applier.writer.connection
        self._tap = Tap(stream, routes, applier)
        self.feed = self._tap.feed
        self._halt = threading.Event()
        self._sight: Sight | None = None
        self._running = 0  # the request that is worked on
        self._notes: psycopg.Connection[Any] | None = None
        self._remembered: set[tuple[int, Key]] = set()
        self._source: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name=f"snapshot-{stream.name}", daemon=True)

    def start(self) -> None:
        """Before anything is fed. Raises: NotPrepared, Transient."""
        with translated_errors():
            if not requests.installed(self._target):
                log.warning("no re-snapshots: run prepare again", stream=self._stream.name)
                return
            left = [r for r in requests.found(self._target, self._stream.name) if r.fills and r.state in requests.OPEN]
        self._tap.fill({request.table: request.step == "blocks" for request in left})
        self._tap.again = partial(self._remember, {request.table: request.id for request in left})
        self._thread.start()

    def stop(self) -> None:
        """What is under way comes to nothing; the next session goes on after the last chunk that was written."""
        self._halt.set()
        if (pending := self._tap.pending) is not None:
            pending.opened.set()
            pending.closed.set()
        if (source := self._source) is not None and not source.closed:
            source.cancel_safe(timeout=2)
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._notes is not None:
            self._notes.close()

    def _remember(self, ids: dict[str, int], source: str, keys: Sequence[Key]) -> None:
        """Called by the apply thread, before what it has just seen is written. Raises: Transient."""
        number = ids.get(source, self._running)
        fresh = [key for key in keys if (number, key) not in self._remembered]
        if not fresh:
            return
        if self._notes is None:
            self._notes = connect(self._dsns[1], f"banyan-cdc {self._stream.name} requests")
        with translated_errors():
            requests.again(self._notes, number, fresh)
        if len(self._remembered) > REMEMBERED:
            self._remembered.clear()
        self._remembered.update((number, key) for key in fresh)

    # ---- the reader thread

    def _run(self) -> None:
        while not self._halt.is_set():
            try:
                with connect(self._dsns[1], f"banyan-cdc {self._stream.name} requests") as target:
                    self._see_filled(target)
                    while not self._halt.is_set():
                        if requests.following(target, self._stream.name) is not None:
                            self._serve(target)
                        self._halt.wait(NEW_EVERY)
            except Interrupted:
                return
            except (Transient, psycopg.Error) as e:
                if not self._halt.is_set():
                    log.warning("re-snapshot interrupted", stream=self._stream.name, error=first_line(e))
            self._halt.wait(LOOK_EVERY)

    def _serve(self, target: psycopg.Connection[Any]) -> None:
        """All that is asked for. The source has no session of ours while there is nothing."""
        progress = Progress()
        self._on_progress(progress)
        with source_session(self._dsns[0], self._stream.name) as source:
            self._source = source
            try:
                while (request := requests.following(target, self._stream.name)) is not None:
                    self._check()
                    _foresee(progress, requests.found(target, self._stream.name))
                    self._work(source, target, request, progress)
                    if request.fills:
                        self._see_filled(target)
            finally:
                self._source = None
                self._on_progress(None)

    def _work(
        self, source: psycopg.Connection[Any], target: psycopg.Connection[Any], request: Request, progress: Progress
    ) -> None:
        try:
            if request.table not in self._routes.by_source:
                raise ConfigError(f"{request.table} is no source table of stream {self._stream.name}")
            brake = Brake(self._stream.snapshot_limits, progress, self._halt.is_set)
            Task(self, source, target, request, self._routes, brake, progress).run()
        except Cancelled:
            log.info("re-snapshot cancelled", stream=self._stream.name, table=request.table)
        except (CdcError, psycopg.Error) as e:
            error = stream_error(e, "a database of the snapshot") if isinstance(e, psycopg.Error) else e
            if isinstance(error, Transient):
                raise error from e
            self._fail(target, request, error)

    def _fail(self, target: psycopg.Connection[Any], request: Request, error: CdcError) -> None:
        """What a fill needs is tried again, for without it the stream is not complete."""
        log.error("re-snapshot failed", stream=self._stream.name, table=request.table, error=str(error))
        target.execute(
            "UPDATE banyan.snapshot SET problem = %s, state = CASE WHEN fills THEN 'waiting' ELSE 'failed' END,"
            " ended_at = CASE WHEN NOT fills THEN clock_timestamp() END"
            " WHERE id = %s AND state IN ('waiting', 'running')",
            [str(error), request.id],
        )
        if request.fills:
            self._halt.wait(1.0)

    def _see_filled(self, target: psycopg.Connection[Any]) -> None:
        done = target.execute(
            "UPDATE banyan.stream s SET state = 'streaming', filled_lsn = source_lsn, snapshot_rows ="
            " (SELECT coalesce(sum(r.rows), 0) FROM banyan.snapshot r WHERE r.stream = s.stream AND r.fills)"
            " WHERE stream = %s AND state = 'snapshot' AND NOT EXISTS"
            " (SELECT FROM banyan.snapshot r WHERE r.stream = s.stream AND r.fills AND r.state <> 'done')",
            [self._stream.name],
        )
        if done.rowcount:
            drop_origins(target, self._stream)  # of a fill that was killed
            log.info("filled", stream=self._stream.name)
            self._on_filled()

    @contextmanager
    def watching(self, route: Route, request: Request) -> Iterator[None]:
        """See `Marks`. The order matters: what comes by is noted before the sight is made."""
        assert self._source is not None
        self._running, self._tap.table = request.id, route
        if not request.scope:
            self._tap.read_anew(route.source)
        self._sight = Sight(self._source, self._tap.xids.copy, self._check)
        try:
            yield
        finally:
            self._sight = None
            self._tap.table = self._tap.pending = None
            if not request.fills:
                self._tap.filled(route.source)

    def complete(self, route: Route) -> None:
        """See `Marks`."""
        self._tap.filled(route.source)

    def window(self, pending: Pending, read_chunk: Callable[[], Chunk]) -> int | None:
        """See `Marks`. Raises: Interrupted, TargetOwns, Cancelled, Transient."""
        assert self._sight is not None
        self._tap.pending = pending
        self._emit(pending.window.token, "low")
        self._await(pending.opened)
        with self._sight.moment():
            pending.chunk = read_chunk()
        self._emit(pending.window.token, "high")
        self._await(pending.closed)
        if isinstance(pending.verdict, BaseException):
            raise pending.verdict
        return pending.verdict

    def _emit(self, token: str, which: str) -> None:
        assert self._source is not None
        # In a transaction, so that it comes in the order of commits, whatever else is under way.
        self._source.execute("SELECT pg_logical_emit_message(true, %s, %s)", [WINDOW, f"{token} {which}"])

    def _await(self, event: threading.Event) -> None:
        while not event.wait(LOOK_EVERY):
            self._check()
        self._check()

    def _check(self) -> None:
        if self._halt.is_set():
            raise Interrupted


def _foresee(progress: Progress, known: Sequence[Request]) -> None:
    """What there is to read in all, as far as it is known."""
    left = [request for request in known if request.state in requests.OPEN]
    progress.tables_left = len(left)
    progress.expected = progress.rows + sum(max(0, (request.expected or 0) - request.rows) for request in left)
