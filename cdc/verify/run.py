"""Compares a whole domain: both sides streamed in key order, and what differs settled while they live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from cdc.errors import Transient, first_line
from cdc.mapping import Mapping, TableMapping, reader
from cdc.verify.compare import Comparison, ranges
from cdc.verify.errors import VerifyError
from cdc.verify.report import Difference, Report, TableReport
from cdc.verify.settle import Settler
from cdc.verify.watermark import Watermarks

# Called with the legacy table, how many of its rows are compared, and about how many there are.
Progress = Callable[[str, int, int], None]

SUSPECTS_AT_ONCE = 5_000  # keys held in memory before they are settled
DRIFT_ENOUGH = 10_000  # so many differing keys in a table say all there is to say
SAMPLES = 10
ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"


@dataclass(frozen=True, slots=True)
class Patience:
    """`wait_s` bounds each wait for the streams, `rounds` how often a key is looked at again."""

    wait_s: float = 10.0
    rounds: int = 20


def verify(
    legacy_dsn: str,
    service_dsn: str,
    mapping: Mapping,
    *,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Report:
    """Compare all rows of all tables of a domain. Locks nothing and stops nobody; memory is bounded.

    Raises: Transient (a side cannot be reached), VerifyError, MappingError.
    """
    started = time.perf_counter()
    patience = patience or Patience()
    with _explained(), ExitStack() as stack:
        legacy, service = (stack.enter_context(_connect(dsn, snapshot=True)) for dsn in (legacy_dsn, service_dsn))
        here, there = (stack.enter_context(_connect(dsn, snapshot=False)) for dsn in (legacy_dsn, service_dsn))
        watermarks = Watermarks(mapping.domain, here, there, patience.wait_s)
        tables = []
        for table in mapping.tables:
            tables.append(_table(table, legacy, service, watermarks, patience.rounds, progress or _silent))
            legacy.rollback()  # a new snapshot for each table: an old one keeps dead rows alive
            service.rollback()
    return Report(mapping.domain, tuple(tables), time.perf_counter() - started, tuple(sorted(watermarks.stalled)))


def _table(
    table: TableMapping,
    legacy: psycopg.Connection[Any],
    service: psycopg.Connection[Any],
    watermarks: Watermarks,
    rounds: int,
    progress: Progress,
) -> TableReport:
    comparison = Comparison.of(table)
    legacy_shape = reader.shape(legacy, table.legacy, comparison.legacy_columns)
    service_shape = reader.shape(service, table.service, comparison.service_columns)
    settler = Settler(comparison, legacy_shape, service_shape, watermarks, rounds)
    estimate = (legacy.execute(ESTIMATE, (reader.name(table.legacy).as_string(),)).fetchone() or (0,))[0]
    here = reader.stream(legacy, legacy_shape, table.forward.source_key)
    there = reader.stream(service, service_shape, table.forward.key)
    legacy_rows = service_rows = rechecked = unsettled = 0
    drift: list[Difference] = []
    suspects: list[Any] = []
    complete = True
    for left, right in ranges(here, there, comparison.key_of):
        legacy_rows += len(left)
        service_rows += len(right)
        suspects += comparison.suspects(left, right)
        if len(suspects) >= SUSPECTS_AT_ONCE:
            settled = settler.settle(suspects)
            rechecked, unsettled = rechecked + len(suspects), unsettled + settled.unsettled
            drift += settled.drift
            suspects.clear()
            if len(drift) >= DRIFT_ENOUGH or watermarks.stalled:
                complete = False
                break
        progress(table.legacy, legacy_rows, max(estimate, legacy_rows))
    here.close()
    there.close()
    settled = settler.settle(suspects)
    drift += settled.drift
    kinds = [difference.kind for difference in drift]
    return TableReport(
        table=table.legacy,
        service_table=table.service,
        legacy_rows=legacy_rows,
        service_rows=service_rows,
        missing=kinds.count("missing"),
        extra=kinds.count("extra"),
        different=kinds.count("different"),
        rechecked=rechecked + len(suspects),
        unsettled=unsettled + settled.unsettled,
        complete=complete,
        samples=tuple(drift[:SAMPLES]),
    )


def _silent(table: str, rows: int, estimate: int) -> None:
    """Nobody watches."""


def _connect(dsn: str, snapshot: bool) -> psycopg.Connection[Any]:
    connection: psycopg.Connection[Any] = psycopg.connect(
        dsn,
        autocommit=not snapshot,
        connect_timeout=5,
        application_name="banyan-verify",
        options="-c timezone=UTC -c default_transaction_read_only=on",
    )
    if snapshot:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise VerifyError(f"{error.diag.message_primary}: run `banyan prepare`, which grants it") from error
    except psycopg.OperationalError as error:
        raise Transient(f"a side cannot be reached: {first_line(error)}") from error
