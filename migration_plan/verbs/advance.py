"""`advance`, and those steps of `rollback` that move reads only: gates, ledger, routes."""

from __future__ import annotations

from collections.abc import Collection

from migration_plan import gates, journey
from migration_plan.context import Context
from migration_plan.errors import Unfinished, Unreachable
from migration_plan.gates.measure import measure
from migration_plan.journey import Move
from migration_plan.switch import Recovered, outlook
from migration_plan.switch.ports import Note, Owned
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.run import Run, begin
from migration_plan.verification import Progress, verify_if_stale


def advance(
    context: Context,
    domain: str,
    *,
    to: str | None = None,
    wave: int | None = None,
    reason: str | None = None,
    forced: Collection[str] = (),
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Take a wave's reads one station forward. Raises: PlanError of any kind; then nothing was changed."""
    if dry_run:
        return _look(Run(context, "advance", domain, wave, reason, to), to)
    with begin(context, "advance", domain, wave, reason, to) as run:
        recovered = run.recover()
        move = journey.advance(recovered.stand, run.plan.canary_steps, to)
        if move.nothing:
            return nothing(run, recovered)
        run.announce(move)
        if move.after.phase == "canary":
            verify_if_stale(context, domain, progress)
        measured = measure(context, domain, "legacy")
        findings = gates.require(gates.for_advance(measured, run.plan.gates, move.after), forced)
        return shift(run, recovered, move, [Gate.of(finding) for finding in findings])


def shift(run: Run, recovered: Recovered, move: Move, passed: list[Gate]) -> Result:
    """Move reads: record it, publish it. The record comes first, so a crash between is repaired by the next verb."""
    owned = Owned(recovered.owner, recovered.epoch)
    figures = {"gates": {gate.gate: gate.verdict for gate in passed}}
    run.journal.write([Note(run.verb, "begin", owned.epoch, figures)], move.after, owned)
    try:
        published = run.routes.publish(owned, move.after)
    except Unreachable as error:
        run.journal.write([Note(run.verb, "failed", owned.epoch, why=str(error))], move.before, owned)
        raise Unfinished(f"{error}: the routes are as they were; run the same command again when it answers") from error
    run.journal.write([Note(run.verb, "done", owned.epoch, published)])
    return Result(
        run.verb,
        run.domain,
        run.wave,
        str(move.before),
        str(move.after),
        changed=True,
        message=f"{run.domain}: {move.before} → {move.after}",
        run_id=run.run_id,
        gates=passed,
        owner=recovered.owner,
        epoch=recovered.epoch,
        repaired=recovered.repaired,
        published=published,
    )


def nothing(run: Run, recovered: Recovered) -> Result:
    """The wave is there already. Raises: Unfinished if something was repaired and no gateway could be told."""
    if recovered.repaired is not None and recovered.published.get("gateway") == "not told":
        raise Unfinished(
            f"{recovered.repaired}, but the gateway was not told ({recovered.published['why']}): run it again"
        )
    stand = str(recovered.stand)
    message = f"{run.domain}: already at {stand}, nothing to do"
    if recovered.repaired is not None:
        message = f"{run.domain}: {recovered.repaired}"
    return Result(
        run.verb,
        run.domain,
        run.wave,
        stand,
        stand,
        changed=recovered.repaired is not None,
        message=message,
        owner=recovered.owner,
        epoch=recovered.epoch,
        repaired=recovered.repaired,
        published=recovered.published,
    )


def _look(run: Run, to: str | None) -> Result:
    stand = run.recorded() or journey.LEGACY
    move = journey.advance(stand, run.plan.canary_steps, to)
    measured = measure(run.context, run.domain, "legacy")
    findings = [] if move.nothing else gates.for_advance(measured, run.plan.gates, move.after)
    return dry_run_of(run, move, findings, [] if move.nothing else reads_steps(move), outlook(run.legacy, run.service))


def reads_steps(move: Move) -> list[str]:
    """What a step that moves reads only does."""
    return [
        f"1 gates for {move.after}",
        f"2 ledger: {move.before} → {move.after}",
        "3 publish the routes to every gateway",
    ]


def dry_run_of(run: Run, move: Move, findings: list[gates.Finding], steps: list[str], first: str | None) -> Result:
    """A look: what would be done, and what would stop it."""
    stopping = [finding.gate for finding in findings if finding.verdict != "pass"]
    message = f"{run.domain}: already at {move.after}, nothing to do"
    if not move.nothing:
        message = f"{run.domain}: would go {move.before} → {move.after}"
        message += f"; now it would be refused by: {', '.join(stopping)}" if stopping else ""
    return Result(
        run.verb,
        run.domain,
        run.wave,
        str(move.before),
        str(move.after),
        changed=False,
        message=message,
        dry_run=True,
        steps=([f"0 {first}"] if first else []) + steps,
        gates=[Gate.of(finding) for finding in findings],
    )
