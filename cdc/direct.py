"""One session of a direct stream: what capture reads is applied, and beside it what is to be read again; until it is
stopped, fails, or shall move to Kafka. One that shall move is direct as long as its target is not filled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import structlog

from cdc import judging
from cdc.apply.applier import Applied, Applier
from cdc.apply.foreign import Foreign
from cdc.apply.route import Routes
from cdc.apply.session import translated_errors
from cdc.apply.state import StreamState
from cdc.capture.buffer import Buffer
from cdc.capture.reader import Reader
from cdc.change import lsn_text
from cdc.config import Stream
from cdc.errors import SchemaChanged
from cdc.intake import open_reader
from cdc.kafka.standing import LOOK, stand
from cdc.schema import store
from cdc.schema.sentry import Sentry
from cdc.snapshot import Progress, Windows
from cdc.snapshot.requests import none_open
from cdc.status import Status

# How long one wait for events lasts before the stop flag is looked at, seconds. Not on the latency path.
POLL = 0.25

log = structlog.get_logger("cdc")


class Session:
    """Bound to one applier session at `target`; `state` is the stream's as it begins."""

    def __init__(
        self,
        stream: Stream,
        routes: Routes,
        dsns: tuple[str, str],
        target: psycopg.Connection[Any],
        state: StreamState,
        sentry: Sentry,
        status: Status,
        on_applied: Callable[[], None],
        may_move: float = 0.0,
    ) -> None:
        """`on_applied`: something was. `may_move`: to Kafka not before then, by the monotonic clock."""
        self._stream, self._routes, self._dsns, self._target = stream, routes, dsns, target
        self._sentry, self._status, self._on_applied = sentry, status, on_applied
        self._may_move = may_move
        self._applier = Applier(target, stream.name, routes, ahead=True)
        # Not filled yet: what is left of the fill is read beside the stream.
        self._begins_at = "snapshot" if state.phase == "snapshot" else "streaming"
        status.parked = len(self._applier.writer.parked)

    def run(self, position: int, spools: bool, stop: threading.Event) -> bool:
        """True when it ended because the stream shall move to Kafka. `spools`: large transactions come before they end.

        Raises: what ends a stream's session.
        """
        buffer = Buffer()
        # The slot again: until it was ours anybody could have moved it, from now on only we.
        again = partial(judging.judge_slot, self._stream, self._dsns[0], position)
        reader = open_reader(self._stream, self._dsns[0], position, buffer, self._sentry, spools, again)
        foreign = Foreign(self._stream, self._routes, *self._dsns)
        windows = Windows(self._stream, self._routes, self._dsns, self._applier, self._snapshot, self._filled)
        log.info("streaming", stream=self._stream.name, lsn=lsn_text(position))
        self._status.state, self._status.problem = self._begins_at, ""
        reader.start()
        try:
            windows.start()
            return self._carry(buffer, reader, foreign, windows, stop)
        finally:
            windows.stop()
            foreign.close()
            reader.stop()
            reader.join(timeout=5)

    def _carry(self, buffer: Buffer, reader: Reader, foreign: Foreign, windows: Windows, stop: threading.Event) -> bool:
        applier, status = self._applier, self._status
        look = time.monotonic() + LOOK
        while not stop.is_set():
            try:
                events, size = buffer.take(0.0 if applier.busy or applier.waiting else POLL)
            except SchemaChanged:  # what came before the change is carried over
                self._note(reader, applier.settle(), applier.finish())
                raise
            self._note(reader, *windows.feed(foreign.admit(events), size))
            status.foreign = foreign.unsettled()
            # What has come is made ready while the target works; with nothing to do, its answer is waited for.
            if (last := applier.settle() if events or applier.waiting else applier.finish()) is not None:
                self._note(reader, last)
                self._on_applied()
            if self._sentry.changed:
                self._note(reader, applier.finish())  # its connection is needed
                self._accept()
            if status.lost_tables:
                raise SchemaChanged(f"{status.lost_tables}: changes do not come any more (dropped, or not published)")
            if time.monotonic() > look:
                look = time.monotonic() + LOOK
                self._note(reader, applier.finish())
                if self._moves():
                    return True
        self._note(reader, applier.finish())
        return False

    def _note(self, reader: Reader, *done: Applied | None) -> None:
        for applied in done:
            if applied is None:
                continue
            if applied.durable:  # what is confirmed does not come again
                reader.applied = applied.lsn
            self._status.paused = reader.paused
            self._status.note(applied, len(self._applier.writer.parked))

    def _moves(self) -> bool:
        name = self._stream.name
        wanted = time.monotonic() > self._may_move and stand(self._target, name)[1] == "kafka"
        return wanted and none_open(self._target, name)

    def _accept(self) -> None:
        with translated_errors():
            for table in list(self._sentry.changed):
                store.accept(self._target, self._stream.name, "source", {table: self._sentry.changed.pop(table)})

    def _snapshot(self, progress: Progress | None) -> None:
        self._status.snapshot = progress

    def _filled(self) -> None:
        self._status.state = "streaming"
