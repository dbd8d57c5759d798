"""`advance`, `shadow`, `canary`, `switch`, `rollback`: end what was left half done, then take one step.

`options` are those of `Options`.
"""

from __future__ import annotations

from typing import Any

from migration_plan.context import Context
from migration_plan.verbs.look import look
from migration_plan.verbs.options import Options
from migration_plan.verbs.reads import move_reads, nothing
from migration_plan.verbs.result import Result
from migration_plan.verbs.run import Run
from migration_plan.verbs.writes import move_writes


def advance(context: Context, domain: str, **options: Any) -> Result:
    """Take a wave's reads one station forward. Raises: PlanError of any kind; then nothing was changed."""
    return _step(Run(context, "advance", domain, Options(**options)))


def shadow(context: Context, domain: str, **options: Any) -> Result:
    """Copies of a wave's reads go to the service, to compare. Raises: as `advance`."""
    return _step(Run(context, "shadow", domain, Options(**options, to="shadow")))


def canary(context: Context, domain: str, percent: int, **options: Any) -> Result:
    """The service answers so many percent of a wave's reads, more than now. Raises: as `advance`."""
    return _step(Run(context, "canary", domain, Options(**options, to=str(percent))))


def switch(context: Context, domain: str, **options: Any) -> Result:
    """Move a wave's writes to its service. Raises: Refused, Aborted (nothing was changed), Unfinished (run again)."""
    return _step(Run(context, "switch", domain, Options(**options)))


def rollback(context: Context, domain: str, **options: Any) -> Result:
    """Take a wave one phase back, or to a named one; from `service` that is the switch with the sides exchanged.

    Raises: as `switch`.
    """
    return _step(Run(context, "rollback", domain, Options(**options)))


def _step(run: Run) -> Result:
    if run.options.dry_run:
        return look(run)
    run.require_approver()
    with run.context.lease(run.domain):
        recovered = run.recover()
        run.require_expected(recovered.stand)
        move = run.move(recovered.stand)
        if move.nothing:
            return nothing(run, recovered)
        run.require_unfrozen(move)
        run.announce(move)
        return move_writes(run, recovered, move) if move.switches else move_reads(run, recovered, move)
