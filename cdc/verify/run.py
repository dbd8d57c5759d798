"""Compares a whole domain while it lives: every table in windows (cdc.verify.window has the proof)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from cdc.errors import Transient, first_line
from cdc.mapping import Direction, Side, TableMapping
from cdc.mapping import Mapping as DomainMapping
from cdc.verify.errors import VerifyError
from cdc.verify.report import Report
from cdc.verify.table import CHUNK_ROWS, Comparing
from cdc.verify.touches import Carrier
from cdc.verify.window import SIDES, Windows

# Called with the legacy table, how many of its rows are compared, and about how many there are.
Progress = Callable[[str, int, int], None]

STREAMING = "SELECT source_lsn IS NOT NULL FROM banyan.stream WHERE stream = %s"


@dataclass(frozen=True, slots=True)
class Patience:
    """`wait_s` bounds each wait for the streams, `rounds` how often a key is looked at again."""

    wait_s: float = 10.0
    rounds: int = 20


def verify(
    legacy_dsn: str,
    service_dsn: str,
    mapping: DomainMapping,
    *,
    carriers: Mapping[Direction, Carrier] | None = None,
    tables: Collection[str] = (),
    rate: float | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
    chunk_rows: int | None = None,
    ring_keys: int | None = None,
) -> Report:
    """Compare all rows of all tables of a domain, or of the legacy `tables`. Locks nothing; memory is bounded.

    `carriers`: the streams between the two; without them both sides must be at rest. `rate`: at most so many rows a
    second, on average.

    Raises: Transient (a side cannot be reached), VerifyError, MappingError.
    """
    started = time.perf_counter()
    chosen = choose(mapping, tables)
    patience = patience or Patience()
    pace = _Pace(rate)
    if rate is not None:
        chunk_rows = min(chunk_rows or CHUNK_ROWS, max(100, round(rate / 2)))
    with opened(legacy_dsn, service_dsn, mapping, carriers or {}, patience.wait_s, ring_keys) as windows:
        with ThreadPoolExecutor(2, thread_name_prefix="verify") as workers:
            found = tuple(
                Comparing(table, windows, workers, patience.rounds, progress or _silent, pace, chunk_rows).run()
                for table in chosen
            )
        return Report(mapping.domain, found, time.perf_counter() - started, tuple(sorted(windows.stalled)))


def choose(mapping: DomainMapping, tables: Collection[str]) -> tuple[TableMapping, ...]:
    """The tables of these legacy or service names; none named: all. Raises: VerifyError."""
    known = {name: table for table in mapping.tables for name in (table.legacy, table.service)}
    short = {name.partition(".")[2]: table for name, table in known.items()}
    wanted = []
    for name in tables:
        table = known.get(name) or short.get(name)
        if table is None:
            raise VerifyError(
                f"no table {name} in {mapping.domain}; there are: {', '.join(t.legacy for t in mapping.tables)}"
            )
        wanted.append(table)
    return tuple(table for table in mapping.tables if table in wanted) if wanted else tuple(mapping.tables)


@contextmanager
def opened(
    legacy_dsn: str,
    service_dsn: str,
    mapping: DomainMapping,
    carriers: Mapping[Direction, Carrier],
    wait_s: float,
    ring_keys: int | None = None,
) -> Iterator[Windows]:
    """Connections and readers for windows of this domain. Raises: Transient, VerifyError."""
    with explained(), ExitStack() as stack:
        dsns: dict[Side, str] = {"legacy": legacy_dsn, "service": service_dsn}
        reading = {side: stack.enter_context(_connect(dsns[side], snapshot=True)) for side in SIDES}
        asking = {side: stack.enter_context(_connect(dsns[side], snapshot=False)) for side in SIDES}
        windows = Windows(mapping, reading, asking, carriers, wait_s, ring_keys)
        stack.callback(windows.close)
        _require_carriers(windows)
        yield windows


def _require_carriers(windows: Windows) -> None:
    """A stream that nobody told us of would make drift of what is under way."""
    ends: tuple[tuple[Direction, Side], ...] = (("forward", "service"), ("reverse", "legacy"))
    for direction, target in ends:
        if direction not in windows.carriers and windows.streams_end_at(target):
            name = f"{windows.mapping.domain}.{direction}"
            row = windows.asking[target].execute(STREAMING, [name]).fetchone()
            if row is not None and row[0]:
                raise VerifyError(f"stream {name} runs, but nobody said where it captures")


class _Pace:
    """Sleeps so that no more than `rate` rows a second are read, over the whole run."""

    def __init__(self, rate: float | None) -> None:
        self._rate, self._next = rate, time.monotonic()

    def __call__(self, rows: int) -> None:
        if self._rate is None:
            return
        self._next = max(time.monotonic() - 1.0, self._next) + rows / self._rate
        time.sleep(max(0.0, self._next - time.monotonic()))


def _silent(table: str, rows: int, estimate: int) -> None:
    """Nobody watches."""


def _connect(dsn: str, snapshot: bool) -> psycopg.Connection[Any]:
    # Chunks are short queries: compiling them, or spreading them over cores that others need, would cost more.
    options = "-c timezone=UTC -c default_transaction_read_only=on -c jit=off -c max_parallel_workers_per_gather=0"
    connection: psycopg.Connection[Any] = psycopg.connect(
        dsn,
        autocommit=not snapshot,
        connect_timeout=5,
        application_name="banyan-verify",
        options=options,
    )
    if snapshot:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


@contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise VerifyError(f"{error.diag.message_primary}: run `banyan prepare`, which grants it") from error
    except psycopg.OperationalError as error:
        raise Transient(f"a side cannot be reached: {first_line(error)}") from error
