"""Compares a domain's two sides and keeps the result in the ledger, where gates, status and console find it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import msgspec

from migration_plan.context import Context
from migration_plan.gates.measure import last_verification
from migration_plan.ledger import Entry

#: Called with a table, how many of its rows are compared, and about how many there are.
Progress = Callable[[str, int, int], None]

# Rows of the ledger stay readable: this many differing keys are kept by name, the rest is a number.
SAMPLES = 10


class Verification(msgspec.Struct, frozen=True):
    """`tables`: rows compared by legacy table; `samples`: the first differing keys, in words."""

    domain: str
    clean: bool
    rows: int
    drift: int
    ms: float
    tables: dict[str, int] = {}
    samples: list[str] = []


def verify_if_stale(context: Context, domain: str) -> None:
    """Compare unless a clean comparison is younger than the plan asks for. Raises: Unreachable, PlanError."""
    last = last_verification(context, domain)
    if last is None or not last.clean or last.age_s > context.plan.domain(domain).gates.verify_fresh_s:
        verify_domain(context, domain)


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
    started = time.perf_counter()
    result = _compare(context, domain, progress)
    result = msgspec.structs.replace(result, ms=round((time.perf_counter() - started) * 1000, 1))
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
    raise NotImplementedError
