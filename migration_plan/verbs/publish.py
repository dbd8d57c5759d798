"""`plan publish`: the running gateway gets the plan's routes, facade, callers and policies; nothing moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.control.table import Domain, RouteTable, Wave
from gateway.errors import AdminError, TableRefused, VersionConflict
from migration_plan.compile import compile_table
from migration_plan.context import Context
from migration_plan.errors import Refused, Unreachable
from migration_plan.switch.routes import CONFLICTS


class Published(msgspec.Struct, frozen=True):
    """`parts`: what of the table differs; `unplanned`: domains and upstreams that only the gateway knows, and keeps."""

    changed: bool
    message: str
    version: int
    parts: list[str]
    unplanned: list[str]
    applied: int | None = None
    workers: int | None = None
    dry_run: bool = False
    verb: str = "plan publish"

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def publish(context: Context, reason: str | None = None, *, dry_run: bool = False) -> Published:
    """Raises: Refused when the gateway would not take the table; Unreachable, NotPrepared, NotConfigured."""
    try:
        return _publish(context, reason or "no reason given", dry_run)
    except TableRefused as error:
        raise Refused(f"the gateway would not take what the plan says: {'; '.join(error.reasons)}") from error
    except AdminError as error:
        raise Unreachable(str(error)) from error


def planned_table(context: Context) -> tuple[RouteTable, RouteTable, list[str]]:
    """The table that runs, the one that the plan asks for, and what only the running one has.

    Raises: AdminError, TableRefused, Unreachable, NotPrepared, NotConfigured.
    """
    # The table before the ledger: whoever publishes a step meanwhile makes our version an old one.
    now = context.admin().table()
    return now, merged(now, _planned(context, now.version)).validated(), _unplanned(now, context)


def _publish(context: Context, reason: str, dry_run: bool) -> Published:
    admin = context.admin()
    for _ in range(CONFLICTS):
        now, wanted, unplanned = planned_table(context)
        parts = differing(now, wanted)
        if not parts or dry_run:
            message = f"would change: {', '.join(parts)}" if parts else "the gateway has it all, nothing to do"
            return Published(False, message, now.version, parts, unplanned, dry_run=dry_run)
        try:
            applied = admin.put_table(wanted, now.version, context.actor, f"plan publish: {reason}")
        except VersionConflict:
            continue
        message = f"published: {', '.join(parts)}"
        return Published(True, message, applied.version, parts, unplanned, applied.applied, applied.total)
    raise Unreachable("the route table keeps changing: see the audit of the gateway's admin API")


def _planned(context: Context, version: int) -> RouteTable:
    states = context.ledger().states()
    owners: Mapping[tuple[str, int], Any] = {key: (state.owner, state.epoch) for key, state in states.items()}
    return compile_table(
        context.plan, owners, {key: state.stand for key, state in states.items()}, version, context.env
    )


def merged(now: RouteTable, planned: RouteTable) -> RouteTable:
    """Pure. What the plan does not name stays, and so do a hold, a round of comparisons, and a newer epoch's word."""
    domains = {name: _domain(now.domains.get(name), domain) for name, domain in planned.domains.items()}
    return msgspec.structs.replace(
        now,
        upstreams={**now.upstreams, **planned.upstreams},
        domains={**now.domains, **domains},
        facade=planned.facade,
        auth=planned.auth,
    )


def _domain(known: Domain | None, planned: Domain) -> Domain:
    if known is None:
        return planned
    waves = {wave.wave: wave for wave in known.waves}
    kept = [_wave(waves.get(wave.wave), wave) for wave in planned.waves]
    return msgspec.structs.replace(planned, waves=kept, shadow_round=known.shadow_round)


def _wave(known: Wave | None, planned: Wave) -> Wave:
    if known is None or (known.bucket_from, known.bucket_to) != (planned.bucket_from, planned.bucket_to):
        return planned
    return known if known.epoch > planned.epoch else msgspec.structs.replace(planned, hold=known.hold)


def differing(now: RouteTable, wanted: RouteTable) -> list[str]:
    """Names of what changes: `upstream legacy`, `domain pricing`, `facade`, `auth`."""
    found = [f"upstream {name}" for name, one in wanted.upstreams.items() if now.upstreams.get(name) != one]
    found += [f"domain {name}" for name, one in wanted.domains.items() if now.domains.get(name) != one]
    return found + [part for part in ("facade", "auth") if getattr(now, part) != getattr(wanted, part)]


def _unplanned(now: RouteTable, context: Context) -> list[str]:
    found = [f"upstream {name}" for name in now.upstreams if name not in context.plan.upstreams]
    return found + [f"domain {name}" for name in now.domains if name not in context.plan.domains]
