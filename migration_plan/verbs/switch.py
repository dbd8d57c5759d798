"""`switch`, and `rollback` as far as it moves writes: preflight, the eight steps, what came of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from migration_plan import gates, journey
from migration_plan.context import Context
from migration_plan.errors import Refused
from migration_plan.gates.measure import measure
from migration_plan.journey import Move
from migration_plan.plan import Side
from migration_plan.switch import Recovered, Switch, describe, outlook
from migration_plan.switch.adapters import CdcStream, Checks, WallClock
from migration_plan.switch.recorder import Hook, nobody_dies
from migration_plan.verbs.advance import dry_run_of, nothing, reads_steps, shift
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.run import Run, begin
from migration_plan.verification import Progress, verify_domain, verify_if_stale


def switch(
    context: Context,
    domain: str,
    *,
    wave: int | None = None,
    reason: str | None = None,
    forced: Collection[str] = (),
    dry_run: bool = False,
    hook: Hook = nobody_dies,
    progress: Progress | None = None,
) -> Result:
    """Move a wave's writes to its service. Raises: Refused, Aborted (nothing was changed), Unfinished (run again)."""
    if dry_run:
        return _look(Run(context, "switch", domain, wave, reason))
    with begin(context, "switch", domain, wave, reason) as run:
        recovered = run.recover()
        move = journey.switch(recovered.stand, run.plan.canary_steps)
        if move.nothing:
            return nothing(run, recovered)
        return _move_writes(run, recovered, move, forced, hook, progress)


def rollback(
    context: Context,
    domain: str,
    *,
    to: str | None = None,
    wave: int | None = None,
    reason: str | None = None,
    forced: Collection[str] = (),
    dry_run: bool = False,
    hook: Hook = nobody_dies,
    progress: Progress | None = None,
) -> Result:
    """Take a wave one phase back, or to a named one; from `service` that is the switch with the sides exchanged."""
    if dry_run:
        run = Run(context, "rollback", domain, wave, reason, to)
        move = journey.rollback(run.recorded() or journey.LEGACY, run.plan.canary_steps, to)
        return _look_at(run, move)
    with begin(context, "rollback", domain, wave, reason, to) as run:
        recovered = run.recover()
        move = journey.rollback(recovered.stand, run.plan.canary_steps, to)
        if move.nothing:
            return nothing(run, recovered)
        if move.switches:
            return _move_writes(run, recovered, move, forced, hook, progress)
        run.announce(move)
        return shift(run, recovered, move, [])


def _move_writes(
    run: Run, recovered: Recovered, move: Move, forced: Collection[str], hook: Hook, progress: Progress | None
) -> Result:
    run.announce(move)
    source = recovered.owner
    passed: list[gates.Finding] = []
    with run.stream(source) as stream:
        checks = Checks(
            lambda: _preflight(run, source, stream, forced, passed, progress), lambda: _afterwards(run, progress)
        )
        outcome = Switch(
            run.ports(stream, checks), source, move.before, move.after, run.plan.budgets, WallClock(), hook
        ).run()
    return Result(
        run.verb,
        run.domain,
        run.wave,
        str(move.before),
        str(move.after),
        changed=True,
        message=f"{run.domain}: {outcome.owner} accepts the writes (epoch {outcome.epoch});"
        f" they waited {outcome.pause_ms:.0f} ms",
        run_id=run.run_id,
        gates=[Gate.of(finding) for finding in passed],
        predicted_pause_ms=outcome.preflight.get("predicted_pause_ms"),
        pause_ms=outcome.pause_ms,
        attempts=outcome.attempts,
        step_ms=outcome.step_ms,
        owner=outcome.owner,
        epoch=outcome.epoch,
        repaired=recovered.repaired,
        verify=outcome.verify,
        published=outcome.published,
    )


def _preflight(
    run: Run,
    source: Side,
    stream: CdcStream,
    forced: Collection[str],
    passed: list[gates.Finding],
    progress: Progress | None,
) -> dict[str, Any]:
    """Step 1; it opens the connections that the pause will use, too."""
    verify_if_stale(run.context, run.domain, progress)
    stream.open()
    if "parked" in forced:
        stream.accept_parked()
    run.routes.open()
    measured = measure(run.context, run.domain, source)
    findings = gates.for_switch(measured, run.plan.gates, run.plan.budgets, source)
    passed.extend(gates.require(findings, forced))
    verdicts = {finding.gate: f"{finding.verdict}: {finding.measured}" for finding in passed}
    return {"predicted_pause_ms": measured.predicted_pause_ms, "gates": verdicts, "forced": sorted(forced)}


def _afterwards(run: Run, progress: Progress | None) -> dict[str, Any]:
    """Step 8. A comparison that cannot be made now does not undo a switch that is done: it is reported."""
    try:
        verified = verify_domain(run.context, run.domain, run_id=run.run_id, progress=progress)
    except Exception as error:  # whatever it is, the writes have moved
        return {"clean": None, "why": f"{type(error).__name__}: {error}"}
    figures: dict[str, Any] = msgspec.to_builtins(verified)
    return figures


def _look(run: Run) -> Result:
    stand = run.recorded() or journey.LEGACY
    try:
        move = journey.switch(stand, run.plan.canary_steps)
    except Refused as error:
        result = _look_at(run, Move(stand, journey.SERVICE))
        return msgspec.structs.replace(result, message=f"{run.domain}: would be refused now: {error}")
    return _look_at(run, move)


def _look_at(run: Run, move: Move) -> Result:
    first = outlook(run.legacy, run.service)
    if move.nothing or not move.switches:
        return dry_run_of(run, move, [], [] if move.nothing else reads_steps(move), first)
    source = move.before.owner
    measured = measure(run.context, run.domain, source)
    findings = gates.for_switch(measured, run.plan.gates, run.plan.budgets, source)
    steps = describe(run.domain, run.wave, source, run.plan.budgets)
    result = dry_run_of(run, move, findings, steps, first)
    return msgspec.structs.replace(result, predicted_pause_ms=measured.predicted_pause_ms)
