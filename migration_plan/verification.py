"""Compares a domain's two sides and keeps the result in the ledger, where gates, status and console find it."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import msgspec

from cdc.errors import CdcError, Transient
from cdc.mapping import MappingError
from cdc.verify import verify
from migration_plan.context import SIDES, Context
from migration_plan.environment import need_dsn
from migration_plan.errors import PlanError, Unreachable
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


def verify_domain(
    context: Context,
    domain: str,
    *,
    run_id: str | None = None,
    reason: str | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare every row of the domain and record it. Raises: Unreachable, PlanError; differences are in the result."""
    context.plan.domain(domain)
    before = fills(known_streams(context, domain))  # a fill that begins meanwhile makes the result an old one
    result = msgspec.structs.replace(_compare(context, domain, progress), fills=before)
    measured = msgspec.to_builtins(result)
    del measured["domain"]
    entry = Entry(
        domain=domain,
        verb="verify",
        step="compared",
        run_id=run_id or uuid.uuid4().hex[:12],
        actor=context.actor,
        measured=measured,
        reason=reason,
    )
    context.ledger().append([entry])
    return result


def _compare(context: Context, domain: str, progress: Progress | None) -> Verification:
    for side in SIDES:
        with context.control(domain, side):
            pass  # one that is away is told by its name
    sides = (context.plan.database_of(domain, side).control for side in SIDES)
    legacy, service = (need_dsn(context.env, variable) for variable in sides)
    try:
        report = verify(legacy, service, context.mapping(domain), progress=progress)
    except Transient as error:
        raise Unreachable(f"{domain} cannot be compared: {error}") from error
    except (CdcError, MappingError) as error:
        raise PlanError(f"{domain} cannot be compared: {error}") from error
    return Verification(
        domain,
        report.clean,
        report.rows,
        report.drift,
        round(report.seconds * 1000, 1),
        unsettled=report.unsettled,
        rechecked=report.rechecked,
        tables={table.table: table.rows for table in report.tables},
        samples=[str(difference) for difference in report.samples[:SAMPLES]],
        stalled=list(report.stalled),
    )
