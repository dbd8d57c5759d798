"""--dry-run: what a step would do, and what would stop it now. Changes nothing, and compares nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from migration_plan import gates, journey
from migration_plan.errors import Refused
from migration_plan.journey import Move
from migration_plan.roundtrip import lint_mapping
from migration_plan.switch import describe, outlook
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.run import Run


def look(run: Run) -> Result:
    """Raises: PlanError when not even the step is clear; a refusal is in the result."""
    first = outlook(run.legacy, run.service)
    move, why = _move(run)
    if move.nothing:
        message = f"{run.domain}: already at {move.after}, nothing to do"
        return run.result(move, changed=False, message=message, dry_run=True, steps=_numbered(first, []))
    if move.switches:
        try:
            run.routes.require_valid(move.after)
        except Refused as error:
            why = [*why, str(error)]
    why += refused_by_people(run, move)
    measured, findings = run.judge(move)
    due = _due(run, move, measured) if measured is not None else {}
    why += [str(found) for found in gates.stopping(findings, run.options.forced) if found.gate not in due]
    steps = describe(run.domain, run.wave, move.before.owner, run.plan.budgets) if move.switches else _reads(move)
    steps = [*(step for step, _ in due.values()), *steps]
    findings = [replace(found, help=due[found.gate][1]) if found.gate in due else found for found in findings]
    return run.result(
        move,
        changed=False,
        message=f"{run.domain}: {move.before} → {move.after} " + ("would be refused now" if why else "would be done"),
        dry_run=True,
        steps=_numbered(first, steps),
        gates=[Gate.of(finding) for finding in findings],
        refusal=why,
        rollback_loses=_losses(run) if move.switches and move.before.owner == "legacy" else [],
        predicted_pause_ms=measured.predicted_pause_ms if measured and move.switches else None,
        predicted_interval_ms=measured.predicted_interval_ms if measured and move.switches else None,
    )


def _losses(run: Run) -> list[str]:
    """What the mapping cannot bring back, by its declarations and both databases' columns."""
    return [str(finding) for finding in lint_mapping(run.context, run.domain) if finding.severity != "error"]


def refused_by_people(run: Run, move: Move) -> list[str]:
    """That somebody froze the domain, or that the plan lets others take the step; nothing when it may be taken."""
    found = []
    for require in (partial(run.require_unfrozen, move), run.require_approver):
        try:
            require()
        except Refused as error:
            found.append(str(error))
    return found


def _due(run: Run, move: Move, measured: gates.Measured) -> dict[str, tuple[str, str]]:
    """What the step looks at by itself before it judges: gate → the step, and what is said at the gate."""
    found: dict[str, tuple[str, str]] = {}
    if run.compares(move) and gates.comparison_due(measured.verified, run.plan.gates):
        step = "0 compare every row of both sides, since no clean comparison is fresh enough"
        found["verify"] = (step, "the step compares them first")
    if move.switches and gates.round_trip_due(measured.round_trip, run.plan.gates):
        step = "0 carry every row there and back in memory, since that was not done lately"
        found["mapping"] = (step, "the step carries them first")
    return found


def _move(run: Run) -> tuple[Move, list[str]]:
    """Where the step leads; for a switch also when it is too early, with the reason."""
    stand = run.recorded() or journey.LEGACY
    try:
        return run.move(stand), []
    except Refused as error:
        if run.verb != "switch":
            raise
        return Move(stand, journey.SERVICE), [str(error)]


def _reads(move: Move) -> list[str]:
    return [
        f"1 gates for {move.after}",
        f"2 ledger: {move.before} → {move.after}",
        "3 publish the routes to every gateway",
    ]


def _numbered(first: str | None, steps: list[str]) -> list[str]:
    return [f"0 {first}", *steps] if first else steps
