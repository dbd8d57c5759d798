"""Runs the law of a domain's mapping over all real rows of both sides, and lints it against both databases.

The ledger keeps what came of it, where the gate before a switch finds it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

import msgspec
import psycopg

from cdc import mapping as mappings
from cdc.errors import first_line
from cdc.mapping import roundtrip, zones
from cdc.mapping.roundtrip import Checked, Pace
from migration_plan.context import SIDES, Context
from migration_plan.environment import need_dsn
from migration_plan.errors import NameUnknown, PlanError
from migration_plan.gates.measure import last_round_trip
from migration_plan.ledger import Entry
from migration_plan.plan import Side

#: Called after each batch with the table as it stands.
Progress = Callable[[Checked], None]

# Rows of the ledger stay readable.
SAMPLES = 10


class TableCheck(msgspec.Struct, frozen=True):
    """One table of one side. `limited`: rows that change as their converter declares; `columns`: violations by column
    ('' for rows that cannot be carried at all); `lost`: rows with a value in a column that the other side does not get;
    `samples`: the first violations, in words."""

    table: str
    side: str
    to: str
    rows: int
    violated: int
    limited: int = 0
    columns: dict[str, int] = {}
    lost: dict[str, int] = {}
    samples: list[str] = []


class MappingCheck(msgspec.Struct, frozen=True):
    """`holds`: no row of either side would come back changed. `findings`: what the lint says; `notes`: what makes bulk
    work slower."""

    domain: str
    holds: bool
    rows: int
    violated: int
    ms: float
    tables: list[TableCheck] = []
    findings: list[str] = []
    notes: list[str] = []
    errors: int = 0


def check_if_stale(context: Context, domain: str, progress: Progress | None = None) -> None:
    """Check unless the law held on all rows lately: rows that came since were carried by the streams, or are parked.

    Before the service has ever owned anything its rows are images of the monolith's, made by the applier alone: where
    those come back, these do.

    Raises: Unreachable, NotConfigured, PlanError.
    """
    last = last_round_trip(context, domain)
    if last is None or last.violated or last.age_s > context.plan.domain(domain).gates.mapping_fresh_s:
        sides = SIDES if _has_owned(context, domain) else SIDES[:1]
        check_mapping(context, domain, sides=sides, progress=progress)


def _has_owned(context: Context, domain: str) -> bool:
    """Each switch raises the epoch."""
    query = "SELECT coalesce(max(epoch), 1) > 1 FROM banyan.ownership WHERE domain = %s"
    with context.control(domain, "service") as connection:
        row = connection.execute(query, [domain]).fetchone()
    return row is None or bool(row[0])


def check_mapping(
    context: Context,
    domain: str,
    *,
    table: str | None = None,
    limit: int | None = None,
    rows_per_s: float | None = None,
    sides: Sequence[Side] = SIDES,
    progress: Progress | None = None,
) -> MappingCheck:
    """Reads only, a batch at a time; what is checked whole is recorded.

    Raises: Unreachable, NotConfigured, NameUnknown, PlanError.
    """
    mapping, started = context.mapping(domain), time.perf_counter()
    if table is not None and not any(table in (entry.legacy, entry.service) for entry in mapping.tables):
        known = ", ".join(sorted({name for entry in mapping.tables for name in (entry.legacy, entry.service)}))
        raise NameUnknown(f"no table {table!r} in the mapping of {domain}; there are: {known}")
    for side in SIDES:
        with context.control(domain, side):
            pass  # one that is away is told by its name
    dsns: dict[Side, str] = {
        side: need_dsn(context.env, context.plan.database_of(domain, side).control) for side in SIDES
    }
    pace = Pace(rows_per_s)
    try:
        tables: list[TableCheck] = []
        for side in sides:
            with roundtrip.connect(dsns[side]) as connection:
                for state in roundtrip.check_side(connection, mapping, side, only=table, limit=limit, pace=pace):
                    if progress is not None:
                        progress(state)
                    if state.complete:
                        tables.append(_told(state))
        findings, notes = _lint(mapping, dsns)
    except psycopg.errors.InsufficientPrivilege as error:
        raise PlanError(f"{domain}: {first_line(error)}: run `banyan prepare {domain}`, which grants it") from error
    except (mappings.MappingError, psycopg.Error) as error:
        raise PlanError(f"the mapping of {domain} cannot be checked: {str(error).strip().splitlines()[0]}") from error
    result = MappingCheck(
        domain,
        all(not one.violated for one in tables),
        sum(one.rows for one in tables),
        sum(one.violated for one in tables),
        round((time.perf_counter() - started) * 1000, 1),
        tables,
        [str(finding) for finding in findings],
        notes,
        sum(finding.severity == "error" for finding in findings),
    )
    if table is None and limit is None:
        _record(context, result)
    return result


def _record(context: Context, result: MappingCheck) -> None:
    measured = {
        "rows": result.rows,
        "violated": result.violated,
        "ms": result.ms,
        "samples": [sample for one in result.tables for sample in one.samples][:SAMPLES],
    }
    run_id = uuid.uuid4().hex[:12]
    entry = Entry(result.domain, "mapping", "checked", run_id, context.actor, measured=measured)
    context.ledger().append([entry])


def lint_mapping(context: Context, domain: str) -> list[mappings.Finding]:
    """By the declarations and by both databases. Raises: as check_mapping."""
    mapping = context.mapping(domain)
    with context.control(domain, "legacy") as legacy, context.control(domain, "service") as service:
        return [*mappings.declared(mapping), *mappings.lint_databases(mapping, legacy, service)]


def _lint(mapping: mappings.Mapping, dsns: dict[Side, str]) -> tuple[list[mappings.Finding], list[str]]:
    with roundtrip.connect(dsns["legacy"]) as legacy, roundtrip.connect(dsns["service"]) as service:
        found = [*mappings.declared(mapping), *mappings.lint_databases(mapping, legacy, service)]
        told = (zones.disagreement(side, *mapping.tables) for side in (legacy, service))
        return found, sorted({reason for reason in told if reason is not None})


def _told(state: Checked) -> TableCheck:
    return TableCheck(
        state.table,
        state.side,
        state.to,
        state.rows,
        state.violated,
        state.limited,
        dict(state.columns),
        {column: rows for column, rows in state.lost.items() if rows},
        [str(sample) for sample in state.samples],
    )
