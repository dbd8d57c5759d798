"""Steps that move writes: preflight, the eight steps, what came of it."""

from __future__ import annotations

from typing import Any

import msgspec

from migration_plan import gates
from migration_plan.journey import Move
from migration_plan.roundtrip import check_if_stale
from migration_plan.switch import Recovered, Switch
from migration_plan.switch.adapters import CdcStream, Checks, WallClock
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.run import Run
from migration_plan.verification import verify_domain, verify_if_stale


def move_writes(run: Run, recovered: Recovered, move: Move) -> Result:
    """Raises: Refused, Aborted (nothing was changed), Unfinished (run again)."""
    source = recovered.owner
    passed: list[gates.Finding] = []
    with run.stream(source) as stream:
        checks = Checks(lambda: _preflight(run, move, stream, passed), lambda: _afterwards(run))
        ports, hook = run.ports(stream, checks), run.options.hook
        outcome = Switch(ports, source, move.before, move.after, run.plan.budgets, WallClock(), hook).run()
    return run.result(
        move,
        changed=True,
        message=f"{run.domain}: {outcome.owner} accepts the writes (epoch {outcome.epoch});"
        f" they waited {outcome.pause_ms:.0f} ms",
        run_id=run.run_id,
        gates=[Gate.of(finding) for finding in passed],
        predicted_pause_ms=outcome.preflight.get("predicted_pause_ms"),
        predicted_interval_ms=outcome.preflight.get("predicted_interval_ms"),
        pause_ms=outcome.pause_ms,
        attempts=outcome.attempts,
        step_ms=outcome.step_ms,
        owner=outcome.owner,
        epoch=outcome.epoch,
        repaired=recovered.repaired,
        verify=outcome.verify,
        published=outcome.published,
    )


def _preflight(run: Run, move: Move, stream: CdcStream, passed: list[gates.Finding]) -> dict[str, Any]:
    """Step 1; it opens the connections that the pause will use, too."""
    forced = run.options.forced
    run.routes.require_valid(move.after)  # after the point of no return is too late to learn it
    verify_if_stale(run.context, run.domain, run.options.progress)
    check_if_stale(run.context, run.domain)
    run.require_unfrozen(move)
    stream.open()
    if "parked" in forced:
        stream.accept_parked()
    run.routes.open()
    measured, findings = run.judge(move)
    assert measured is not None, "moving writes is always judged"
    passed.extend(gates.require(findings, forced))
    verdicts = {finding.gate: f"{finding.verdict}: {finding.measured}" for finding in passed}
    return {
        "predicted_pause_ms": measured.predicted_pause_ms,
        "predicted_interval_ms": measured.predicted_interval_ms,
        "gates": verdicts,
        "forced": sorted(forced),
    }


def _afterwards(run: Run) -> dict[str, Any]:
    """Step 8. A comparison that cannot be made now does not undo a switch that is done: it is reported."""
    try:
        verified = verify_domain(run.context, run.domain, run_id=run.run_id, progress=run.options.progress)
    except Exception as error:  # whatever it is, the writes have moved
        return {"clean": None, "why": f"{type(error).__name__}: {error}"}
    figures: dict[str, Any] = msgspec.to_builtins(verified)
    return figures
