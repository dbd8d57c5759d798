"""What of a domain's preparation is in place: ledger, guards, streams. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from cdc.apply.route import routes
from cdc.apply.state import read_state
from cdc.capture import slot as slots
from cdc.config import Stream
from migration_plan import ledger
from migration_plan.compile import DIRECTIONS, compile_stream
from migration_plan.context import SIDES, Context, figures
from migration_plan.environment import need_dsn
from migration_plan.errors import NotPrepared, PlanError
from migration_plan.plan import Side

GUARDED = """
SELECT NOT EXISTS (
    SELECT FROM unnest(%s::text[]) t
     WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = to_regclass(t) AND g.tgname ^@ 'banyan_guard'))
"""
PUBLISHED = "SELECT count(*) FROM pg_publication_tables WHERE pubname = %s AND schemaname || '.' || tablename = ANY(%s)"
APPLIED = """
SELECT EXISTS (SELECT FROM banyan.stream WHERE stream = %s)
   AND EXISTS (SELECT FROM pg_replication_origin WHERE roname = %s) AND to_regclass('banyan.snapshot') IS NOT NULL
"""


class Part(msgspec.Struct, frozen=True):
    """One thing that `prepare` makes. `state`: as it was found, or `made` once it is."""

    what: str
    state: Literal["in place", "missing", "made"]

    @classmethod
    def found(cls, what: str, there: bool) -> Part:
        return cls(what, "in place" if there else "missing")


def look(context: Context, domains: Sequence[str], *, remake_reverse: bool = False) -> list[Part]:
    """In the order in which they are made. Raises: Unreachable, NotConfigured."""
    return [look_at_ledger(context)] + [
        part for domain in domains for part in look_at(context, domain, remake_reverse=remake_reverse)
    ]


def look_at_ledger(context: Context) -> Part:
    return Part.found("ledger", ledger.is_installed(need_dsn(context.env, "BANYAN_LEDGER_DSN")))


def look_at(context: Context, domain: str, *, remake_reverse: bool = False) -> list[Part]:
    """Two guards, then two streams. Raises: Unreachable, NotConfigured; PlanError where `prepare` is refused."""
    guards = [Part.found(f"{domain}: guard on the {side} side", _guard(context, domain, side)) for side in SIDES]
    streams = [
        Part.found(
            f"{domain}: {direction} stream",
            not (remake_reverse and direction == "reverse") and _stream(context, domain, direction),
        )
        for direction in DIRECTIONS
    ]
    return guards + streams


def described(context: Context, domain: str, direction: str) -> Stream:
    return msgspec.convert(compile_stream(context.plan, domain, direction, context.env), Stream)


def ends(direction: str) -> tuple[Side, Side]:
    """The source's side and the target's."""
    return SIDES if direction == "forward" else (SIDES[1], SIDES[0])


def _guard(context: Context, domain: str, side: Side) -> bool:
    planned = {(n, wave.bucket_from, wave.bucket_to) for n, wave in enumerate(context.plan.domain(domain).waves)}
    try:
        with context.owner(domain, side) as connection:
            known = connection.execute(
                "SELECT wave, bucket_from, bucket_to FROM banyan.ownership WHERE domain = %s", [domain]
            ).fetchall()
            [guarded] = figures(connection.execute(GUARDED, [context.tables(domain, side)]).fetchone())
    except NotPrepared:
        return False
    return bool(guarded) and planned == set(known)


def _stream(context: Context, domain: str, direction: str) -> bool:
    stream, (source, target) = described(context, domain, direction), ends(direction)
    tables = list(routes(context.mapping(domain), stream.direction).by_source)
    with context.owner(domain, source) as connection:
        [published] = figures(connection.execute(PUBLISHED, [stream.publication, tables]).fetchone())
        slot = slots.find(connection, stream.slot)
    try:
        with context.owner(domain, target) as connection:
            [applied] = figures(connection.execute(APPLIED, [stream.name, stream.origin]).fetchone())
            state = read_state(connection, stream.name)
    except NotPrepared:
        return False
    position = state.lsn if state and not stream.snapshot else None
    if position is not None and (refusal := slots.judge(stream.slot, slot, position)) is not None:
        raise PlanError(f"{domain} cannot be prepared: {refusal}") from refusal
    # A forward stream gets its slot from its first fill.
    return bool(applied) and published == len(tables) and (stream.snapshot or slot is not None)
