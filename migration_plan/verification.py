"""Compares a domain's two sides and keeps the result in the ledger, where gates, status and console find it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg

from cdc.errors import CdcError, Transient, first_line
from cdc.mapping import Direction, MappingError
from cdc.verify import Carrier, Report, state, verify
from migration_plan.compile import compile_stream
from migration_plan.context import SIDES, Context
from migration_plan.environment import need_dsn
from migration_plan.errors import PlanError, Refused, Unreachable
from migration_plan.gates.measure import fills, known_streams, last_verification
from migration_plan.ledger import Entry

#: Called with a table, how many of its rows are compared, and about how many there are.
Progress = Callable[[str, int, int], None]

# Rows of the ledger stay readable: this many differing keys are kept by name, the rest is a number.
SAMPLES = 10


class Verification(msgspec.Struct, frozen=True):
    """`drift`: differing rows; `unsettled`: rows that kept changing, or whose stream did not catch up in time;
    `tables`: rows compared by legacy table; `samples`: the first differing keys, in words; `stalled`: streams that were
    waited for in vain; `fills`: whose rows were compared, by direction."""

    domain: str
    clean: bool
    rows: int
    drift: int
    ms: float
    unsettled: int = 0
    rechecked: int = 0
    tables: dict[str, int] = {}
    samples: list[str] = []
    stalled: list[str] = []
    fills: dict[str, str] = {}


def verify_if_stale(context: Context, domain: str, progress: Progress | None = None) -> None:
    """Compare unless a clean comparison is of the rows that are there now, and younger than the plan asks for.

    Raises: Unreachable, PlanError.
    """
    last = last_verification(context, domain, known_streams(context, domain))
    fresh_s = context.plan.domain(domain).gates.verify_fresh_s
    if last is None or not last.clean or last.refilled or last.age_s > fresh_s:
        verify_domain(context, domain, progress=progress)


def require_living(context: Context, domain: str) -> None:
    """Raises: Refused of a domain that was completed: there is one side only."""
    state = context.ledger().states().get((domain, 0))
    if state is not None and state.stand.phase == "retired":
        raise Refused(f"{domain} is retired: the monolith's rows are as they were then, there is nothing to compare")


def verify_domain(
    context: Context,
    domain: str,
    *,
    run_id: str | None = None,
    reason: str | None = None,
    tables: Sequence[str] = (),
    rate: float | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare every row of the domain, or of these tables, and record it.

    A part of the tables says nothing to a gate. Raises: Unreachable, PlanError; differences are in the result.
    """
    return compared(context, domain, run_id=run_id, reason=reason, tables=tables, rate=rate, progress=progress)[0]


def compared(
    context: Context,
    domain: str,
    *,
    run_id: str | None = None,
    reason: str | None = None,
    tables: Sequence[str] = (),
    rate: float | None = None,
    progress: Progress | None = None,
) -> tuple[Verification, Report]:
    """The same, with all that differs."""
    context.plan.domain(domain)
    require_living(context, domain)
    streams = known_streams(context, domain)
    before = fills(streams)  # a fill that begins meanwhile makes the result an old one
    report = _compare(context, domain, streams, before, tables, rate, progress)
    result = _verification(report, before)
    measured = msgspec.to_builtins(result)
    del measured["domain"]
    entry = Entry(
        domain=domain,
        verb="verify",
        step="compared in part" if tables else "compared",
        run_id=run_id or uuid.uuid4().hex[:12],
        actor=context.actor,
        measured=measured,
        reason=reason,
    )
    context.ledger().append([entry])
    return result, report


def carriers(context: Context, domain: str, directions: Iterable[str]) -> dict[Direction, Carrier]:
    """Where the changes of these streams can be read, and a repair written. Raises: NotConfigured."""
    found: dict[Direction, Carrier] = {}
    for direction in directions:
        stream = compile_stream(context.plan, domain, direction, context.env)
        capture, apply = (need_dsn(context.env, stream[end]) for end in ("source_dsn_env", "target_dsn_env"))
        found[stream["direction"]] = Carrier(stream["name"], capture, stream["publication"], apply, stream["origin"])
    return found


def ends(context: Context, domain: str) -> tuple[str, str]:
    """(legacy, service): where both sides are read. Raises: Unreachable, NotConfigured."""
    for side in SIDES:
        with context.control(domain, side):
            pass  # one that is away is told by its name
    legacy, service = (need_dsn(context.env, context.plan.database_of(domain, side).control) for side in SIDES)
    return legacy, service


def _compare(
    context: Context,
    domain: str,
    streams: Iterable[str],
    filled: dict[str, str],
    tables: Sequence[str],
    rate: float | None,
    progress: Progress | None,
) -> Report:
    legacy, service = ends(context, domain)
    try:
        with opened_state(context, domain) as kept:
            began = state.begin(kept, domain) if kept is not None and not tables else None
            report = verify(
                legacy,
                service,
                context.mapping(domain),
                carriers=carriers(context, domain, streams),
                tables=tables,
                rate=rate,
                progress=progress,
            )
            if kept is not None:
                state.end(kept, report, began or datetime.now(UTC), filled, whole=not tables)
    except Transient as error:
        raise Unreachable(f"{domain} cannot be compared: {error}") from error
    except (CdcError, MappingError) as error:
        raise PlanError(f"{domain} cannot be compared: {error}") from error
    return report


@contextmanager
def opened_state(context: Context, domain: str) -> Iterator[psycopg.Connection[Any] | None]:
    """Where the state is kept; None before `prepare`. The capture's role: control only reads there."""
    dsn = need_dsn(context.env, context.plan.database_of(domain, "service").capture)
    try:
        connection = psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="banyan-verify state")
    except psycopg.OperationalError as error:
        raise Transient(f"its state cannot be kept: {first_line(error)}") from error
    with connection:
        row = connection.execute(
            "SELECT coalesce(has_table_privilege(to_regclass('banyan.verified'), 'INSERT'), false)"
        ).fetchone()
        yield connection if row is not None and row[0] else None


def _verification(report: Report, filled: dict[str, str]) -> Verification:
    return Verification(
        report.domain,
        report.clean,
        report.rows,
        report.drift,
        round(report.seconds * 1000, 1),
        unsettled=report.unsettled,
        rechecked=report.rechecked,
        tables={table.table: table.rows for table in report.tables},
        samples=[str(difference) for difference in report.samples[:SAMPLES]],
        stalled=list(report.stalled),
        fills=filled,
    )
