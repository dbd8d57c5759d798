"""`abort`: a step that was left half done is ended backwards, while that is possible. Again it changes nothing.

Of a switch the databases say how far it came: before the point of no return the writes go back to where they were,
after it only forward is possible. Of a step that moves reads the ledger says it: its record comes before the routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migration_plan.context import Context
from migration_plan.errors import Refused
from migration_plan.journey import Move, Stand
from migration_plan.ledger import Row
from migration_plan.switch import Recovered
from migration_plan.switch.ports import Note, Owned
from migration_plan.switch.resolve import InFlight, locate
from migration_plan.verbs.options import Options
from migration_plan.verbs.result import Result
from migration_plan.verbs.run import FORWARD, Run

ENDED = ("done", "failed")


def abort(context: Context, domain: str, **options: Any) -> Result:
    """Raises: Refused when only forward is possible; Busy while a controller is at work; Unreachable."""
    run = Run(context, "abort", domain, Options(**options))
    if run.options.dry_run:
        return _look(run)
    with context.lease(domain):
        found = _require_before(run)
        half = half_done(context.ledger().history(domain, limit=50), run.wave)
        recovered = run.recover()
        if not isinstance(found, InFlight) and half is not None and recovered.stand == half.after:
            return _take_back(run, recovered, half)
    move = Move(recovered.stand, recovered.stand)
    message = recovered.repaired or f"nothing was half done: at {recovered.stand}"
    return run.result(
        move,
        changed=recovered.repaired is not None,
        message=f"{domain}: {message}",
        owner=recovered.owner,
        epoch=recovered.epoch,
        repaired=recovered.repaired,
        published=recovered.published,
    )


def half_done(rows: Sequence[Row], wave: int) -> Move | None:
    """Pure. The step forward of reads that began last and did not end; `rows` are the newest, oldest first.

    A rollback, or an abort, that broke off is ended in its own direction.
    """
    steps = [row.entry for row in rows if row.entry.wave == wave and row.entry.before and row.entry.after]
    if not steps or steps[-1].verb not in FORWARD or steps[-1].step != f"{steps[-1].verb}.begin":
        return None
    before, after = Stand.parse(str(steps[-1].before)), Stand.parse(str(steps[-1].after))
    return None if before.owner != after.owner or after.phase == "retired" else Move(before, after)


def _require_before(run: Run) -> object:
    """Raises: Refused past the point of no return."""
    found = locate(run.legacy.read(), run.service.read())
    if isinstance(found, InFlight) and found.passed:
        verb = "switch" if found.source == "legacy" else "rollback"
        raise Refused(
            f"{run.domain}: the point of no return is passed, the other side accepts writes already; only forward is"
            f" possible: `banyan {verb} {run.domain}` ends it"
        )
    if (stand := run.recorded()) is not None and stand.phase == "retired":
        raise Refused(f"{run.domain} is retired, from where there is no way back; `banyan complete` ends what is left")
    return found


def _take_back(run: Run, recovered: Recovered, half: Move) -> Result:
    owned = Owned(recovered.owner, recovered.epoch)
    run.announce(Move(half.after, half.before))
    run.journal.write([Note("abort", "begin", owned.epoch)], half.before, owned)
    published = run.routes.publish(owned, half.before)
    run.journal.write([Note("abort", "done", owned.epoch, published)])
    message = f"{run.domain}: the step to {half.after} was half done; taken back to {half.before}"
    return run.result(
        Move(half.after, half.before),
        changed=True,
        message=message,
        run_id=run.run_id,
        owner=owned.owner if owned.owner != "moving" else None,
        epoch=owned.epoch,
        published=published,
    )


def _look(run: Run) -> Result:
    stand = run.recorded() or Stand("legacy")
    try:
        found = _require_before(run)
    except Refused as error:
        message = f"{run.domain}: would be refused now"
        return run.result(Move(stand, stand), changed=False, message=message, dry_run=True, refusal=[str(error)])
    half = half_done(run.context.ledger().history(run.domain, limit=50), run.wave)
    after, steps = stand, list[str]()
    if isinstance(found, InFlight):
        steps = [f"1 owner := {found.source} in both databases, epoch + 1", "2 publish the routes, which ends a hold"]
    elif half is not None and half.after == stand:
        after, steps = half.before, [f"1 ledger: {half.after} → {half.before}", "2 publish the routes"]
    message = f"{run.domain}: would be taken back" if steps else f"{run.domain}: nothing is half done"
    return run.result(Move(stand, after), changed=False, message=message, dry_run=True, steps=steps)
