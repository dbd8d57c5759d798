"""Steps that move reads only: gates, ledger, routes."""

from __future__ import annotations

from migration_plan import gates
from migration_plan.errors import Unfinished, Unreachable
from migration_plan.journey import Move
from migration_plan.switch import Recovered
from migration_plan.switch.ports import Note, Owned
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.run import Run
from migration_plan.verification import verify_if_stale


def move_reads(run: Run, recovered: Recovered, move: Move) -> Result:
    """The record comes before the routes: a crash between is repaired by the next verb. Raises: Refused, Unfinished."""
    if run.compares(move):
        verify_if_stale(run.context, run.domain, run.options.progress)
        run.require_unfrozen(move)
    _, findings = run.judge(move)
    passed = [Gate.of(finding) for finding in gates.require(findings, run.options.forced)]
    owned = Owned(recovered.owner, recovered.epoch)
    figures = {"gates": {gate.gate: gate.verdict for gate in passed}}
    run.journal.write([Note(run.verb, "begin", owned.epoch, figures)], move.after, owned)
    try:
        published = run.routes.publish(owned, move.after)
    except Unreachable as error:
        run.journal.write([Note(run.verb, "failed", owned.epoch, why=str(error))], move.before, owned)
        raise Unfinished(f"{error}: the routes are as they were; run the same command again when it answers") from error
    run.journal.write([Note(run.verb, "done", owned.epoch, published)])
    return run.result(
        move,
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
    message = f"{run.domain}: already at {recovered.stand}, nothing to do"
    if recovered.repaired is not None:
        message = f"{run.domain}: {recovered.repaired}"
    return run.result(
        Move(recovered.stand, recovered.stand),
        changed=recovered.repaired is not None,
        message=message,
        owner=recovered.owner,
        epoch=recovered.epoch,
        repaired=recovered.repaired,
        published=recovered.published,
    )
