"""Runs one stream: fills it if it is new, streams, and after a passing failure goes on from the target's position."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import structlog

from cdc import judging
from cdc.apply.route import DomainMapping, routes
from cdc.apply.session import become_applier, connect, end_sessions, translated_errors
from cdc.apply.state import StreamState, read_state
from cdc.capture.session import open_source
from cdc.config import Stream
from cdc.direct import Session
from cdc.errors import AtWork, NotPrepared, SchemaChanged, SpoolFull, Transient
from cdc.halts import Halts
from cdc.kafka import halves
from cdc.kafka.standing import stand
from cdc.retired import Retirement
from cdc.schema import examine, store
from cdc.schema.sentry import Sentry
from cdc.snapshot import Filled, Interrupted, Progress, fill, refill
from cdc.status import Status

# Pause before the next try: doubles from the first to the last, with jitter, seconds.
FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
# How long a fill tries to put a running applier aside, which comes back after its first pause, seconds.
TAKE_OVER = 10.0
# A move to a Kafka that does not answer is tried again after this, seconds: each try interrupts the stream.
KAFKA_AGAIN = 30.0

log = structlog.get_logger("cdc")


class Runner:
    """`run` blocks until `stop` is set or something needs a person; safe to run in a thread."""

    def __init__(
        self,
        stream: Stream,
        mapping: DomainMapping,
        source_dsn: str,
        target_dsn: str,
        status: Status | None = None,
        reload: Callable[[], tuple[Stream, DomainMapping]] | None = None,
        relay: halves.Start | None = None,
    ) -> None:
        """`reload`: what the stream is after a halt, when its mapping may be another.

        `relay` starts the producer's half of a stream through Kafka; by default it is a thread.
        """
        self.stream = stream
        self._mapping, self._reload = mapping, reload
        self._halts = Halts(target_dsn)
        self._retirement = Retirement(target_dsn)
        self.status = status or Status(stream.name)
        self._routes = routes(mapping, stream.direction)
        self._source_dsn, self._target_dsn = source_dsn, target_dsn
        self._target: psycopg.Connection[Any] | None = None
        self._relay = relay or self._relay_thread
        self._kafka_again = 0.0
        self._spools = stream.spool_mib > 0  # large transactions come before they end, until that does not fit

    def run(self, stop: threading.Event) -> None:
        """Raises: every CdcError but Transient."""
        pause = FIRST_PAUSE
        while not stop.is_set():
            began = time.monotonic()
            try:
                if self._halts.stand(self.stream, self.status, stop):
                    self._again()
                if not stop.is_set():
                    self._carry(self._retirement.stand(self.stream, self._mapping, self.status, stop))
                if not stop.is_set():
                    self._session(stop)
            except SchemaChanged as e:
                self._halts.met(e)
            except Transient as e:
                self.status.state, self.status.problem = "reconnecting", str(e)
                self.status.restarts += 1
                if isinstance(e, SpoolFull):
                    self._spools = False
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

    def _carry(self, mapping: DomainMapping) -> None:
        if mapping is not self._mapping:
            self._mapping, self._routes = mapping, routes(mapping, self.stream.direction)

    def _again(self) -> None:
        """Raises: ConfigError."""
        if self._reload is not None:
            self.stream, self._mapping = self._reload()
            self._routes = routes(self._mapping, self.stream.direction)

    def cancel(self) -> None:
        """End a statement that blocks; its transaction is rolled back and comes again after the next start."""
        if self._target is not None and not self._target.closed:
            self._target.cancel_safe(timeout=2)

    def snapshot(self, stop: threading.Event, *, take_over: bool = False) -> Filled:
        """Fill (again), alone: the stream's origin has one holder. With `take_over` a process that streams is put aside
        until the fill is done, and goes on from there by itself.

        Raises: AtWork, Transient, Interrupted, TargetOwns.
        """
        with self.alone(take_over) as target:
            self._require(target)
            return self.fill(target, stop)

    def alone(self, take_over: bool = True) -> psycopg.Connection[Any]:
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
            time.sleep(0.02)  # one of another name or role has it, of whose end nobody is told

    def _applier_session(self) -> psycopg.Connection[Any]:
        target = connect(self._target_dsn, f"banyan-cdc {self.stream.name}")
        try:
            become_applier(target, self.stream.origin)
        except BaseException:
            target.close()
            raise
        return target

    def _session(self, stop: threading.Event) -> None:
        # Whatever asks a database on the way: one that goes away is come back to.
        with translated_errors("a database"), closing(self._applier_session()) as target:
            self._target = target
            state = self._require(target)
            if self.stream.snapshot and state.phase != "streaming" and state.lsn is None:
                self.fill(target, stop)
                state = self._require(target)
            if state.lsn is None:
                raise NotPrepared(f"stream {self.stream.name} has no position and takes no snapshot: run prepare")
            self.status.snapshot_rows = state.snapshot_rows
            if self._through(target) == "kafka":
                if state.phase != "snapshot":
                    # The slot's position is Kafka's, which the relay judges.
                    judging.judge_source(self.stream, self._source_dsn, target, state, state.lsn)
                    self._through_kafka(target, stop)
                    return
                self._begin_filling(target)
            self.judge(target, state, state.lsn)
            sentry, clear = self._sentry(target), self._halts.clear
            session = Session(
                self.stream, self._routes, self._dsns, target, state, sentry, self.status, clear, self._kafka_again
            )
            if session.run(state.lsn, self._spools, stop):
                self._kafka_again = time.monotonic() + KAFKA_AGAIN
                self._begin_kafka(target)
                self._kafka_again = 0.0

    def _require(self, target: psycopg.Connection[Any]) -> StreamState:
        with translated_errors():
            state = read_state(target, self.stream.name)
        if state is None:
            raise NotPrepared(f"stream {self.stream.name} is not prepared in the target: run prepare")
        return state

    def _through(self, target: psycopg.Connection[Any]) -> str:
        """Which transport. Raises: NotPrepared."""
        return stand(target, self.stream.name)[0]

    def _sentry(self, target: psycopg.Connection[Any]) -> Sentry:
        """Raises: SchemaChanged, when the target's tables are not what they were."""
        name, policies = self.stream.name, self.stream.policies
        with translated_errors():
            known = store.accepted(target, name)
            examine.require_target(target, name, self._routes, known.target, policies)
        return Sentry(name, self._routes, known.source, policies, known.through)

    def fill(self, target: psycopg.Connection[Any], stop: threading.Event) -> Filled:
        """A fill begins with the tables as they are: whatever the stream stood for is past."""
        self.status.state = "snapshot"
        if self._through(target) == "kafka":  # what is in the topics is older than this fill
            self._begin_kafka(target)
        with open_source(self._source_dsn, self.stream.name) as source, translated_errors("the source"):
            shapes = examine.source_shapes(source, self._routes, self.stream.publication)
        self.status.snapshot = progress = Progress()
        try:
            filled = fill(self._dsns, target, self.stream, self._routes, stop.is_set, progress)
        finally:
            self.status.snapshot = None
        with translated_errors(), target.transaction():
            store.accept(target, self.stream.name, "source", shapes)
            store.close_halt(target, self.stream.name, "fill", "filled anew", filled.lsn)
        self.status.snapshot_rows = filled.rows
        return filled

    def _through_kafka(self, target: psycopg.Connection[Any], stop: threading.Event) -> None:
        from cdc.kafka import run  # the client library is slow to import, and direct streams do without it

        note = run.noted(self.status, self._halts.clear)
        run.run(target, self.stream, self._routes, self.status, self._source_dsn, stop.is_set, self._relay, note)

    def _begin_kafka(self, target: psycopg.Connection[Any]) -> None:
        from cdc.kafka import move, run

        move.begin_kafka(target, self.stream.name, run.settings_of(self.stream), list(self._routes.by_source))

    def _begin_filling(self, target: psycopg.Connection[Any]) -> None:
        from cdc.kafka import move

        move.begin_filling(target, self.stream.name)

    def _relay_thread(self) -> halves.Half:
        from cdc.kafka import run

        return halves.Thread(run.producer_of(self.stream, self._mapping, self._source_dsn, self._target_dsn))

    def refill(self, target: psycopg.Connection[Any]) -> int:
        """After a lost slot: a new one, and all read again beside the stream, once it runs. Returns its position.

        Raises: Transient, TargetOwns, NotPrepared.
        """
        if self._through(target) == "kafka":  # what is in the topics is older
            self._begin_kafka(target)
        with open_source(self._source_dsn, self.stream.name) as source, translated_errors("the source"):
            shapes = examine.source_shapes(source, self._routes, self.stream.publication)
            lsn = refill(source, target, self.stream, self._routes)
        with translated_errors(), target.transaction():
            store.accept(target, self.stream.name, "source", shapes)
            store.close_halt(target, self.stream.name, "refill", "slot made anew", lsn)
        return lsn

    @property
    def _dsns(self) -> tuple[str, str]:
        return self._source_dsn, self._target_dsn

    def judge(self, target: psycopg.Connection[Any], state: StreamState, position: int) -> None:
        """Whether source and slot are those that the position was read from. A slot may be where Kafka has come to.

        Raises: WrongSource, SlotLost, SlotAhead, SlotTaken, LogLost, Transient.
        """
        judging.judge_source(self.stream, self._source_dsn, target, state, position)
        if self._through(target) == "kafka" and state.phase != "snapshot":
            from cdc.kafka import run

            position = max(position, run.sent(target, self.stream, list(self._routes.by_source)))
        judging.judge_slot(self.stream, self._source_dsn, position)
