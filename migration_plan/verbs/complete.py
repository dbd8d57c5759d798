"""`complete`: a domain leaves the monolith for good. From `service` to `retired`, which has no way back.

Two ends. Where nobody at the monolith touches its tables any more: the reverse stream is dropped, the forward stream
carries reference data only, the tables get other names. Where readers are left and a person accepts them: no fallback
and no rollback any more, but the tables stay and the reverse stream goes on feeding them.

The record comes first: a run that breaks off is ended by the next one, and every step may come twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cdc import errors as cdc_errors
from cdc import retire, retired
from cdc.kafka import standing
from migration_plan import gates, journey
from migration_plan.compile import DIRECTIONS
from migration_plan.context import SIDES, Context
from migration_plan.environment import need_dsn
from migration_plan.errors import PlanError, Refused, Unfinished, Unreachable
from migration_plan.gates.retire import readers, served
from migration_plan.graph import Edge, holding
from migration_plan.graph.look import look as look_at_monolith
from migration_plan.journey import RETIRED, SERVICE, Move, Stand
from migration_plan.switch.ports import Note, Owned
from migration_plan.verbs import inplace
from migration_plan.verbs.look import refused_by_people
from migration_plan.verbs.options import Options
from migration_plan.verbs.result import Gate, Result
from migration_plan.verbs.run import Run
from migration_plan.verification import verify_if_stale

#: Of those before a canary, what counts here too.
MEASURED = ("gateway", "health", "forward-stream", "lag", "parked", "breaker", "errors", "verify")
RENAMES = 20  # tries to get the tables' locks
RENAME_PAUSE_S = 0.25

#: Told of each step as it begins.
Say = Callable[[str], None]


def complete(
    context: Context,
    domain: str,
    *,
    accept_readers: bool = False,
    source: Path | None = None,
    say: Say = lambda step: None,
    **options: Any,
) -> Result:
    """Every wave of the domain at once. Raises: Refused (nothing was changed), Unfinished (run it again)."""
    if options.get("dry_run"):
        return look_at_completion(context, domain, accept_readers=accept_readers, source=source, **options)
    runs = _runs(context, domain, options)
    run = runs[0]
    run.require_approver()
    with context.ledger().lease(domain):
        recovered = [one.recover() for one in runs]
        stands = [one.stand for one in recovered]
        owned = [Owned(one.owner, one.epoch) for one in recovered]
        ended = _ended(context, domain) if all(stand == RETIRED for stand in stands) else None
        if ended is not None and not _goes_on(run, ended, source, accepted=accept_readers):
            return _nothing(run)
        before = next((stand for stand in stands if stand != RETIRED), RETIRED)
        for one in runs:
            one.announce(Move(SERVICE, RETIRED))
        passed: Sequence[gates.Finding] = ()
        decided = _decided(context, domain)
        cut, first = ended == "fed" or decided, RETIRED not in stands
        if first:
            _require_at_service(stands)
            run.require_unfrozen(Move(before, RETIRED))
            say("1 gates")
            verify_if_stale(context, domain, run.options.progress)
            holders, code_read = _holders(context, domain, source)
            findings = _findings(run, stands, holders, code_read=code_read, accepted=accept_readers)
            passed = gates.require(findings, run.options.forced)
            cut = _cuts(run, holders, code_read=code_read, accepted=accept_readers)
        if cut and (first or ended == "fed"):
            _require_direct(context, domain)
        if first or not decided:  # the comparison took its time; a run that broke off had been allowed to
            run.require_unfrozen(Move(SERVICE, RETIRED))
        say("2 ledger: retired, from where there is no way back")
        for one, mine in zip(runs, owned, strict=True):
            one.journal.write([Note("complete", "begin", mine.epoch, {"cut": cut})], RETIRED, mine)
        published = _finish(runs, owned, say)
        renamed = _take_apart(context, domain, say) if cut else []
        for one, mine in zip(runs, owned, strict=True):
            one.journal.write([Note("complete", "done", mine.epoch, {"cut": cut, "renamed": renamed})])
    tables = f"; its tables at the monolith are {', '.join(renamed)} now" if renamed else ""
    kept = "" if cut else "; its tables at the monolith stay and are fed, for those who read them"
    return run.result(
        Move(before, RETIRED),
        changed=True,
        message=f"{domain}: retired, there is no way back any more{tables}{kept}",
        run_id=run.run_id,
        gates=[Gate.of(finding) for finding in passed],
        owner="service",
        epoch=owned[0].epoch,
        published=published,
    )


def look_at_completion(
    context: Context, domain: str, *, accept_readers: bool = False, source: Path | None = None, **options: Any
) -> Result:
    """What `complete` would do, and what would stop it now. Changes nothing."""
    runs = _runs(context, domain, options)
    run = runs[0]
    stands = [one.recorded() or Stand("legacy") for one in runs]
    ended = _ended(context, domain) if all(stand == RETIRED for stand in stands) else None
    if ended is not None and not _goes_on(run, ended, source, accepted=accept_readers):
        return _nothing(run, dry_run=True)
    holders, code_read = _holders(context, domain, source)
    findings = _findings(run, stands, holders, code_read=code_read, accepted=accept_readers)
    why = refused_by_people(run, Move(stands[0], RETIRED))
    try:
        _require_at_service(stands)
    except Refused as error:
        why.append(str(error))
    why += [str(found) for found in gates.stopping(findings, run.options.forced)]
    verdict = "would be refused now" if why else "would be done"
    return run.result(
        Move(stands[0], RETIRED),
        changed=False,
        message=f"{domain}: {stands[0]} → retired {verdict}; there is no way back from it",
        dry_run=True,
        steps=_steps(context, domain, _cuts(run, holders, code_read=code_read, accepted=accept_readers)),
        gates=[Gate.of(finding) for finding in findings],
        refusal=why,
    )


def _nothing(run: Run, *, dry_run: bool = False) -> Result:
    message = f"{run.domain}: already retired, nothing to do"
    return run.result(Move(RETIRED, RETIRED), changed=False, message=message, dry_run=dry_run)


def _runs(context: Context, domain: str, options: dict[str, Any]) -> list[Run]:
    waves = range(len(context.plan.domain(domain).waves))
    return [Run(context, "complete", domain, Options(**{**options, "wave": wave})) for wave in waves]


def _holders(context: Context, domain: str, source: Path | None) -> tuple[list[Edge], bool]:
    graph = look_at_monolith(context, source)
    return holding(graph, domain), graph.code is not None


def _require_direct(context: Context, domain: str) -> None:
    """Raises: Refused while a stream goes through Kafka: its topics hold what would be carried no more."""
    for direction in DIRECTIONS:
        stream = inplace.described(context, domain, direction)
        with context.control(domain, inplace.ends(direction)[1]) as connection:
            try:
                transport = standing.stand(connection, stream.name)[0]
            except cdc_errors.NotPrepared:
                continue  # dropped by a run that broke off
            if transport == "kafka":
                first = f"`banyan stream move {stream.name} --to direct`"
                raise Refused(f"{stream.name} goes through Kafka: {first} first (nothing was changed)")


def _require_at_service(stands: Sequence[Stand]) -> None:
    """Whatever is forced. Raises: Refused."""
    for stand in stands:
        if stand != RETIRED:
            journey.complete(stand)


def _cuts(run: Run, holders: Sequence[Edge], *, code_read: bool, accepted: bool) -> bool:
    """Whether the tables go: nobody touches them, or a person says that this does not matter. Who accepts readers may
    know of some that are in no code.
    """
    return (not holders and code_read and not accepted) or "readers" in run.options.forced


def _findings(
    run: Run, stands: Sequence[Stand], holders: Sequence[Edge], *, code_read: bool, accepted: bool
) -> list[gates.Finding]:
    reading = readers(run.domain, holders, code_read=code_read, accepted=accepted)
    if RETIRED in stands:  # the rest of a run that broke off, or whose readers are gone
        return [reading]
    waiting = _at_service_s(run, stands)
    found = [served(run.domain, waiting, run.plan.complete_after_s)]
    if waiting is not None:
        _, measured = run.judge(Move(SERVICE, Stand("canary", 100)))  # whether the service can be alone
        found += [finding for finding in measured if finding.gate in MEASURED]
    return [*found, reading]


def _at_service_s(run: Run, stands: Sequence[Stand]) -> float | None:
    """Since the last of the waves came to its service; None when one is not there."""
    if any(stand.owner != "service" for stand in stands):
        return None
    states = run.context.ledger().states()
    since = [states[run.domain, wave].updated for wave in range(len(stands)) if (run.domain, wave) in states]
    ages = [(datetime.now(UTC) - at).total_seconds() for at in since if at is not None]
    return min(ages, default=None)


def _ended(context: Context, domain: str) -> Literal["cut", "fed"] | None:
    """How the last run that came to its end left the domain."""
    rows = context.ledger().history(domain, verb="complete", step="complete.done", limit=1)
    if not rows:
        return None
    return "cut" if rows[-1].entry.measured.get("cut") else "fed"


def _goes_on(run: Run, ended: Literal["cut", "fed"], source: Path | None, *, accepted: bool) -> bool:
    """Whether something is left to do in a retired domain whose tables stayed for readers: they are gone, or a run
    that had found them gone broke off.
    """
    if ended == "cut":
        return False
    if _decided(run.context, run.domain):
        return True
    holders, code_read = _holders(run.context, run.domain, source)
    return _cuts(run, holders, code_read=code_read, accepted=accepted)


def _decided(context: Context, domain: str) -> bool:
    """What the run that broke off had decided."""
    rows = context.ledger().history(domain, verb="complete", step="complete.begin", limit=1)
    return bool(rows and rows[-1].entry.measured.get("cut"))


def _finish(runs: Sequence[Run], owned: Sequence[Owned], say: Say) -> dict[str, Any]:
    """Before anything is taken apart no gateway may fall back to the monolith any more."""
    say("3 routes: no fallback to the monolith")
    try:
        published = [run.routes.publish(mine, RETIRED) for run, mine in zip(runs, owned, strict=True)]
    except Unreachable as error:
        raise Unfinished(f"it is retired, but the gateway was not told ({error}): run the command again") from error
    return published[-1]


def _take_apart(context: Context, domain: str, say: Say) -> list[str]:
    plan, mapping = context.plan, context.mapping(domain)
    say("4 both databases: the domain is retired")
    try:
        for side in SIDES:
            with context.owner(domain, side) as connection:
                retired.mark(connection, domain)
        say("5 reverse stream: slot, publication and origin dropped; forward stream: reference data only")
        forward, reverse = (inplace.described(context, domain, direction) for direction in ("forward", "reverse"))
        databases = [plan.database_of(domain, side) for side in SIDES]
        capture = [need_dsn(context.env, database.capture) for database in databases]
        owner = [need_dsn(context.env, database.owner) for database in databases]
        retire.end_streams(forward, reverse, mapping, (capture[0], capture[1]), (owner[0], owner[1]))
        say("6 the monolith's tables get other names")
        return _rename(context, domain, context.tables(domain, "legacy"))
    except cdc_errors.CdcError as error:
        raise Unfinished(f"{domain} is retired, but not all is taken apart ({error}): run the command again") from error
    except Unreachable as error:
        raise Unfinished(f"{domain} is retired, but {error}: run the command again") from error


def _rename(context: Context, domain: str, tables: Sequence[str]) -> list[str]:
    """Never longer in anybody's way than the plan's lock timeout."""
    lock_timeout_ms = context.plan.domain(domain).budgets.lock_timeout_ms
    for attempt in range(RENAMES):
        try:
            with context.owner(domain, "legacy") as connection:
                return retire.rename(connection, tables, lock_timeout_ms)
        except cdc_errors.Transient:
            if attempt + 1 == RENAMES:
                raise
            time.sleep(RENAME_PAUSE_S)
    raise PlanError("unreachable")


def _steps(context: Context, domain: str, cut: bool) -> list[str]:
    steps = [
        "1 gates, with a comparison of all rows if none is fresh",
        "2 ledger: retired; from here on there is no way back",
        "3 publish the routes: no fallback to the monolith",
    ]
    if not cut:
        return [*steps, "4 its tables stay, and the reverse stream goes on feeding them"]
    names = ", ".join(f"{table}{retire.SUFFIX}" for table in context.tables(domain, "legacy"))
    return [
        *steps,
        "4 mark the domain as retired in both databases",
        "5 drop the reverse stream with its slot; the forward stream carries reference data only",
        f"6 rename the monolith's tables to {names}",
    ]
