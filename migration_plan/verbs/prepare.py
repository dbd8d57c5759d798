"""`prepare`: ledger, guards on both sides, publications, origins, state and slots. Running it again changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cdc import errors as cdc_errors
from cdc import streams
from cdc.capture import slot as slots
from cdc.guard import install, waves
from migration_plan import ledger
from migration_plan.compile import DIRECTIONS
from migration_plan.context import SIDES, Context
from migration_plan.environment import need_dsn
from migration_plan.errors import NotPrepared, PlanError, Refused, Unreachable
from migration_plan.journey import LEGACY, RETIRED, SERVICE
from migration_plan.ledger import Entry, State
from migration_plan.plan import Side
from migration_plan.switch.adapters import GuardTable
from migration_plan.verbs import inplace
from migration_plan.verbs.inplace import Part

#: Called with each part once it is in place.
Say = Callable[[Part], None]


class Prepared(msgspec.Struct, frozen=True):
    """`changed`: something was made; never in a dry run, whose parts are `in place` or `missing`."""

    domains: list[str]
    changed: bool
    message: str
    parts: list[Part]
    dry_run: bool = False
    verb: str = "prepare"

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def prepare(
    context: Context,
    domains: Sequence[str],
    say: Say = lambda part: None,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    remake_reverse: bool = False,
) -> Prepared:
    """Raises: NotConfigured, Unreachable, PlanError; what is in place stays, and the next run goes on.

    `remake_reverse`: the reverse streams are dropped first, because a slot was lost; refused where legacy does not own
    every wave, since changes that only the old slot could have brought back would then be missing at legacy.
    """
    for domain in domains:
        context.plan.domain(domain)
        if remake_reverse:
            _require_legacy(context, domain)
            _require_idle(context, domain)
    domains = _living(context, domains)
    if dry_run:
        parts = inplace.look(context, domains, remake_reverse=remake_reverse)
        missing = sum(part.state == "missing" for part in parts)
        message = f"{missing} of {len(parts)} parts would be made" if missing else "all is in place, nothing to do"
        return Prepared(list(domains), False, message, parts, dry_run=True)
    done: list[Part] = []

    def put(part: Part) -> None:
        done.append(part if part.state == "in place" else Part(part.what, "made"))
        say(done[-1])

    found = inplace.look_at_ledger(context)
    ledger.install(need_dsn(context.env, "BANYAN_LEDGER_DSN"))
    put(found)
    for domain in domains:
        with context.ledger().lease(domain):
            if remake_reverse:
                _drop_reverse(context, domain)
            _prepare(context, domain, put, reason)
    made = sum(part.state == "made" for part in done)
    message = f"{made} of {len(done)} parts were made" if made else "all was in place, nothing to do"
    return Prepared(list(domains), made > 0, message, done)


def _living(context: Context, domains: Sequence[str]) -> list[str]:
    """Without those that were completed: what they need is left of that, and their tables have other names."""
    if not ledger.is_installed(need_dsn(context.env, "BANYAN_LEDGER_DSN")):
        return list(domains)
    retired = {domain for (domain, _), state in context.ledger().states().items() if state.stand == RETIRED}
    return [domain for domain in domains if domain not in retired]


def _prepare(context: Context, domain: str, put: Say, reason: str | None) -> None:
    mapping = context.mapping(domain)
    parts = inplace.look_at(context, domain)
    found = iter(parts)
    numbered = [waves.Wave(n, w.bucket_from, w.bucket_to) for n, w in enumerate(context.plan.domain(domain).waves)]
    try:
        for side in SIDES:
            with context.owner(domain, side) as connection:
                install.install(connection, mapping, side, numbered)
                _let_see_transactions(connection, need_dsn(context.env, context.plan.database_of(domain, side).control))
            put(next(found))
        for direction in DIRECTIONS:
            source, target = (_owner_dsn(context, domain, side) for side in inplace.ends(direction))
            streams.prepare(inplace.described(context, domain, direction), source, target, mapping)
            put(next(found))
    except cdc_errors.Transient as error:
        raise Unreachable(f"{domain}: {error}") from error
    except cdc_errors.NotPrepared as error:
        raise NotPrepared(f"{domain}: {error}") from error
    except cdc_errors.CdcError as error:
        raise PlanError(f"{domain} cannot be prepared: {error}") from error
    _record(context, domain, [part.what for part in parts if part.state == "missing"], reason)


def _require_legacy(context: Context, domain: str) -> None:
    for number in range(len(context.plan.domain(domain).waves)):
        owner = GuardTable(context, domain, number, "legacy").read().owner
        if owner != "legacy":
            raise Refused(
                f"{domain}: wave {number} belongs to {owner}, and its changes need the reverse stream:"
                f" take the writes back first (`banyan rollback {domain} --force-gate reverse-stream`), then compare"
            )


def _require_idle(context: Context, domain: str) -> None:
    slot = inplace.described(context, domain, "reverse").slot
    with context.owner(domain, "service") as connection:
        found = slots.find(connection, slot)
    if found is not None and found.active:
        raise Refused(f"{domain}: its reverse stream lives (slot {slot} is being read): only a lost one is made again")


def _drop_reverse(context: Context, domain: str) -> None:
    _require_legacy(context, domain)
    source, target = (_owner_dsn(context, domain, side) for side in inplace.ends("reverse"))
    try:
        streams.drop(inplace.described(context, domain, "reverse"), source, target)
    except cdc_errors.Transient as error:
        raise Unreachable(f"{domain}: {error}") from error


def _record(context: Context, domain: str, made: list[str], reason: str | None) -> None:
    """A row for each wave that the ledger does not know; and one for each wave when something was made again."""
    states = context.ledger().states()
    for number in range(len(context.plan.domain(domain).waves)):
        known = states.get((domain, number))
        if known is not None and not made:
            continue
        row = GuardTable(context, domain, number, "legacy").read()
        stand = known.stand if known else SERVICE if row.owner == "service" else LEGACY
        entry = Entry(
            domain=domain,
            verb="prepare",
            step="done",
            run_id="prepare",
            actor=context.actor,
            wave=number,
            epoch=row.epoch,
            after=str(stand),
            measured={"made": made},
            reason=reason,
        )
        context.ledger().append([entry], [] if known else [State(domain, number, stand, stand.owner, row.epoch)])


def _let_see_transactions(connection: psycopg.Connection[tuple[object, ...]], control_dsn: str) -> None:
    """Preflight looks at the age of transactions; without a superuser here it will say that they are hidden."""
    role = conninfo_to_dict(control_dsn).get("user")
    if not role:
        return
    try:
        connection.execute(sql.SQL("GRANT pg_read_all_stats TO {}").format(sql.Identifier(str(role))))
    except psycopg.errors.InsufficientPrivilege:
        return


def _owner_dsn(context: Context, domain: str, side: Side) -> str:
    return need_dsn(context.env, context.plan.database_of(domain, side).owner)
