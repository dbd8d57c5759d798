"""`prepare`: ledger, guards on both sides, publications, origins, state and slots. Running it again changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cdc import errors as cdc_errors
from cdc import streams
from cdc.config import Stream
from cdc.guard import install, waves
from migration_plan import ledger
from migration_plan.compile import DIRECTIONS, compile_stream
from migration_plan.context import SIDES, Context
from migration_plan.environment import need_dsn
from migration_plan.errors import NotPrepared, PlanError, Unreachable
from migration_plan.journey import LEGACY, SERVICE
from migration_plan.ledger import Entry, State
from migration_plan.plan import Side
from migration_plan.switch.adapters import GuardTable

#: Called with one line per thing that is in place now.
Say = Callable[[str], None]


def prepare(context: Context, domains: Sequence[str], say: Say = lambda line: None) -> None:
    """Raises: NotConfigured, Unreachable, PlanError; what is in place stays, and the next run goes on."""
    for domain in domains:
        context.plan.domain(domain)
    ledger.install(need_dsn(context.env, "BANYAN_LEDGER_DSN"))
    say("ledger")
    for domain in domains:
        with context.ledger().lease(domain):
            _prepare(context, domain, say)


def _prepare(context: Context, domain: str, say: Say) -> None:
    mapping = context.mapping(domain)
    numbered = [waves.Wave(n, w.bucket_from, w.bucket_to) for n, w in enumerate(context.plan.domain(domain).waves)]
    try:
        for side in SIDES:
            with context.owner(domain, side) as connection:
                install.install(connection, mapping, side, numbered)
                _let_see_transactions(connection, need_dsn(context.env, context.plan.database_of(domain, side).control))
            say(f"{domain}: guard on the {side} side")
        for direction in DIRECTIONS:
            source, target = SIDES if direction == "forward" else SIDES[::-1]
            stream = msgspec.convert(compile_stream(context.plan, domain, direction, context.env), Stream)
            streams.prepare(stream, _owner_dsn(context, domain, source), _owner_dsn(context, domain, target), mapping)
            say(f"{domain}: {direction} stream")
    except cdc_errors.Transient as error:
        raise Unreachable(f"{domain}: {error}") from error
    except cdc_errors.NotPrepared as error:
        raise NotPrepared(f"{domain}: {error}") from error
    except cdc_errors.CdcError as error:
        raise PlanError(f"{domain} cannot be prepared: {error}") from error
    _record(context, domain)


def _record(context: Context, domain: str) -> None:
    """The ledger's first row of each wave, once."""
    states = context.ledger().states()
    for number in range(len(context.plan.domain(domain).waves)):
        if (domain, number) in states:
            continue
        row = GuardTable(context, domain, number, "legacy").read()
        stand = SERVICE if row.owner == "service" else LEGACY
        entry = Entry(
            domain=domain,
            verb="prepare",
            step="done",
            run_id="prepare",
            actor=context.actor,
            wave=number,
            epoch=row.epoch,
            after=str(stand),
        )
        context.ledger().append([entry], [State(domain, number, stand, stand.owner, row.epoch)])


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
