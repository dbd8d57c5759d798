"""How a stream stands: what stopped it is recorded in its target, and it waits until somebody resumes it."""

from __future__ import annotations

import threading

import psycopg
import structlog

from cdc.apply.session import connect, translated_errors
from cdc.config import Stream
from cdc.errors import NotPrepared, SchemaChanged
from cdc.schema import store
from cdc.status import Status

# Seconds between two looks whether somebody has resumed the stream.
LOOK = 0.5

log = structlog.get_logger("cdc.schema")


class Halts:
    """Of one running stream. A change that could not be recorded yet, since the target is away, is kept in mind."""

    def __init__(self, target_dsn: str) -> None:
        self._target_dsn = target_dsn
        self._met: SchemaChanged | None = None
        self._suspected = False

    def met(self, error: SchemaChanged) -> None:
        """An error of the target is a suspicion: its tables are looked at first, and only then, or when it comes again
        without any progress, does the stream stand."""
        if error.side == "target" and not error.table and not self._suspected:
            self._suspected = True
            return
        self._met = error

    def clear(self) -> None:
        """Something was applied."""
        self._suspected = False

    def stand(self, stream: Stream, status: Status, stop: threading.Event) -> bool:
        """Blocks while the stream is halted; whether it was. Raises: Transient, NotPrepared."""
        with connect(self._target_dsn, f"banyan-cdc {stream.name} halts") as target, translated_errors():
            try:
                if self._met is not None:
                    store.halt(target, stream.name, self._met.side, self._met.table, str(self._met), self._met.lsn)
                    self._met = None
                found = store.open_halt(target, stream.name)
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as e:
                raise NotPrepared(f"stream {stream.name} is not prepared in the target: run prepare (again)") from e
            if found is None:
                return False
            status.state, status.problem = "halted", found.words(stream.name, stream.domain)
            log.warning("stream halted", stream=stream.name, table=found.table, what=found.what)
            while found is not None and not stop.wait(LOOK):
                found = store.open_halt(target, stream.name)
        if found is not None:
            return False
        status.state, status.problem = "starting", ""
        self._suspected = False
        log.info("stream resumed", stream=stream.name)
        return True
