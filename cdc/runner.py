"""Runs one stream: fills it if it is new, streams, and after a passing failure goes on from the target's position."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import psycopg
import structlog

from cdc.apply.applier import Applied, Applier
from cdc.apply.route import DomainMapping, routes
from cdc.apply.session import become_applier, connect, end_sessions, translated_errors
from cdc.apply.state import StreamState, read_state
from cdc.capture import slot as slots
from cdc.capture.buffer import Buffer
from cdc.capture.reader import Reader
from cdc.capture.replication import ReplicationStream
from cdc.capture.replication import connect as connect_replication
from cdc.change import lsn_text
from cdc.config import Stream
from cdc.errors import AtWork, NotPrepared, Transient, WrongSource, first_line
from cdc.snapshot import Filled, Interrupted, fill
from cdc.status import Status

# Pause before the next try: doubles from the first to the last, with jitter, seconds.
FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
# How long one wait for events lasts before the stop flag is looked at, seconds. Not on the latency path.
POLL = 0.25
# How long a fill tries to put a running applier aside, which comes back after its first pause, seconds.
TAKE_OVER = 10.0

log = structlog.get_logger("cdc")


class Runner:
    """`run` blocks until `stop` is set or something needs a person; safe to run in a thread."""

    def __init__(
        self, stream: Stream, mapping: DomainMapping, source_dsn: str, target_dsn: str, status: Status | None = None
    ) -> None:
        self.stream = stream
        self.status = status or Status(stream.name)
        self._routes = routes(mapping, stream.direction)
        self._source_dsn, self._target_dsn = source_dsn, target_dsn
        self._target: psycopg.Connection[Any] | None = None

    def run(self, stop: threading.Event) -> None:
        """Raises: every CdcError but Transient."""
        pause = FIRST_PAUSE
        while not stop.is_set():
            began = time.monotonic()
            try:
                self._session(stop)
            except Transient as e:
                self.status.state, self.status.problem = "reconnecting", str(e)
                self.status.restarts += 1
                if time.monotonic() - began > LAST_PAUSE:
                    pause = FIRST_PAUSE
                log.warning("stream interrupted", stream=self.stream.name, error=str(e), retry_in_s=round(pause, 2))
                stop.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter
                pause = min(LAST_PAUSE, pause * 2)
            except Interrupted:
                break
            except Exception as e:
                self.status.state, self.status.problem = "failed", str(e)
                raise
        self.status.state = "stopped"

    def cancel(self) -> None:
        """End a statement that blocks; its transaction is rolled back and comes again after the next start."""
        if self._target is not None and not self._target.closed:
            self._target.cancel_safe(timeout=2)

    def snapshot(self, stop: threading.Event, *, take_over: bool = False) -> Filled:
        """Fill (again), alone: the stream's origin has one holder. With `take_over` a process that streams is put aside
        until the fill is done, and goes on from there by itself.

        Raises: AtWork, Transient, Interrupted, TargetOwns.
        """
        with self._alone(take_over) as target:
            self._require(target)
            return self._fill(target, stop)

    def _alone(self, take_over: bool) -> psycopg.Connection[Any]:
        deadline = time.monotonic() + TAKE_OVER
        while True:
            try:
                return self._applier_session()
            except AtWork as e:
                if not take_over or time.monotonic() > deadline:
                    raise AtWork(
                        f"stream {self.stream.name} is at work, and a fill must be alone: end its process first, or say"
                        f" --take-over, and it waits until the fill is done ({e})"
                    ) from e
            name = f"banyan-cdc {self.stream.name}"
            end_sessions(self._target_dsn, name, "the target")
            end_sessions(self._source_dsn, name, "the source")  # its reader, which holds the slot
            time.sleep(0.02)  # its server process takes a moment to end

    def _applier_session(self) -> psycopg.Connection[Any]:
        target = connect(self._target_dsn, f"banyan-cdc {self.stream.name}")
        try:
            become_applier(target, self.stream.origin)
        except BaseException:
            target.close()
            raise
        return target

    def _session(self, stop: threading.Event) -> None:
        with self._applier_session() as target:
            self._target = target
            state = self._require(target)
            if self.stream.snapshot and state.phase != "streaming":
                self._fill(target, stop)
                state = self._require(target)
            if state.lsn is None:
                raise NotPrepared(f"stream {self.stream.name} has no position and takes no snapshot: run prepare")
            self.status.snapshot_rows = state.snapshot_rows
            self._judge(target, state, state.lsn)
            self._stream(target, state.lsn, stop)

    def _require(self, target: psycopg.Connection[Any]) -> StreamState:
        with translated_errors():
            state = read_state(target, self.stream.name)
        if state is None:
            raise NotPrepared(f"stream {self.stream.name} is not prepared in the target: run prepare")
        return state

    def _fill(self, target: psycopg.Connection[Any], stop: threading.Event) -> Filled:
        self.status.state = "snapshot"
        filled = fill(self._source_dsn, target, self.stream, self._routes, stop.is_set)
        self.status.snapshot_rows = filled.rows
        return filled

    def _judge(self, target: psycopg.Connection[Any], state: StreamState, position: int) -> None:
        """Raises: SlotLost, SlotAhead, WrongSource."""
        with connect_replication(self._source_dsn, f"banyan-cdc {self.stream.name}") as source:
            row = source.execute("IDENTIFY_SYSTEM").fetchone()
        assert row is not None
        system = row[0]
        if state.source_system is not None and state.source_system != system:
            raise WrongSource(
                f"the source is cluster {system}, but stream {self.stream.name} was made for {state.source_system}:"
                f" correct the source's URL, or {slots.AGAIN}"
            )
        try:
            with psycopg.connect(self._source_dsn, autocommit=True, connect_timeout=5) as connection:
                refusal = slots.judge(self.stream.slot, slots.find(connection, self.stream.slot), position)
        except psycopg.OperationalError as e:
            raise Transient(f"cannot connect to the source: {first_line(e)}") from e
        if refusal is not None:
            raise refusal
        if state.source_system is None:
            with translated_errors():
                target.execute(
                    "UPDATE banyan.stream SET source_system = %s WHERE stream = %s", [system, self.stream.name]
                )

    def _stream(self, target: psycopg.Connection[Any], position: int, stop: threading.Event) -> None:
        applier = Applier(target, self.stream.name, self._routes)
        buffer = Buffer()
        replication = connect_replication(self._source_dsn, f"banyan-cdc {self.stream.name}")
        try:
            stream = ReplicationStream(replication, self.stream.slot, [self.stream.publication], position)
        except BaseException:
            replication.close()
            raise
        reader = Reader(stream, buffer, self.stream.name)
        reader.start()
        self.status.state, self.status.problem = "streaming", ""
        self.status.parked = len(applier.writer.parked)
        log.info("streaming", stream=self.stream.name, lsn=lsn_text(position))

        def note(applied: Applied) -> None:
            reader.applied = applied.lsn
            self.status.paused = reader.paused
            self.status.note(applied, len(applier.writer.parked))

        try:
            while not stop.is_set():
                for applied in applier.feed(*buffer.take(POLL)):
                    note(applied)
                if (last := applier.settle()) is not None:
                    note(last)
        finally:
            reader.stop()
            reader.join(timeout=5)
