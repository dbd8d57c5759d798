"""Reading a domain's rows again while it is on line: asks the stream of the side that owns them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence

import msgspec

from cdc.errors import CdcError, Transient
from cdc.snapshot import ask as asking
from cdc.snapshot.ask import Asked
from cdc.snapshot.requests import Request, Scope
from migration_plan.context import Context
from migration_plan.environment import need_dsn
from migration_plan.errors import PlanError, Refused, Unreachable
from migration_plan.ledger import Entry
from migration_plan.verbs.inplace import described, ends


class Table(msgspec.Struct, frozen=True):
    """`rows`: about so many there are, or were read; `state`: `asked`, `waiting`, `running`, `done`, `failed`,
    `cancelled`; `removed`: rows of the target that the source does not have."""

    table: str
    target: str
    rows: int
    state: str = "asked"
    removed: int = 0
    seconds: float | None = None
    problem: str | None = None


class Resnapshot(msgspec.Struct, frozen=True):
    """`stream`: which one reads, that of the side that owns the writes."""

    domain: str
    stream: str
    tables: list[Table]
    dry_run: bool = False

    @property
    def failed(self) -> bool:
        return any(table.state in ("failed", "cancelled") for table in self.tables)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def direction_of(context: Context, domain: str) -> str:
    """Raises: Refused where waves of a domain have different owners, or one is moving."""
    with context.control(domain, "legacy") as connection:
        rows = connection.execute("SELECT DISTINCT owner FROM banyan.ownership WHERE domain = %s", [domain]).fetchall()
    owners = {str(owner) for (owner,) in rows}
    if owners == {"legacy"}:
        return "forward"
    if owners == {"service"}:
        return "reverse"
    raise Refused(
        f"{domain} is owned by {' and '.join(sorted(owners)) or 'nobody'}: its rows can be read again when one side"
        " owns all of them"
    )


def resnapshot_domain(
    context: Context,
    domain: str,
    tables: Sequence[str] = (),
    scope: Scope = Scope(),
    *,
    rows_per_s: int | None = None,
    wait: bool = True,
    dry_run: bool = False,
    reason: str | None = None,
    follow: Callable[[Iterable[list[Request]]], list[Request]] = lambda states: list(states)[-1],
    pause: Callable[[float], object],
) -> Resnapshot:
    """Ask, and wait until all is read unless told not to. Raises: Refused, Unreachable, PlanError."""
    context.plan.domain(domain)
    stream = described(context, domain, direction_of(context, domain))
    source, target = (
        need_dsn(context.env, context.plan.database_of(domain, side).control) for side in ends(stream.direction)
    )
    try:
        asked = asking.ask(
            stream, context.mapping(domain), (source, target), tables, scope, rows_per_s=rows_per_s, dry_run=dry_run
        )
        if dry_run or not wait:
            found = Resnapshot(domain, stream.name, [Table(a.table, a.target, a.rows) for a in asked], dry_run)
        else:
            ids = [item.id for item in asked if item.id is not None]
            ended = follow(asking.watch(stream, target, ids, pause))
            found = Resnapshot(domain, stream.name, [_table(item, ended) for item in asked])
    except Transient as error:
        raise Unreachable(f"{domain} cannot be read again: {error}") from error
    except CdcError as error:
        raise Refused(f"{domain} is not read again: {error}") from error
    if not dry_run:
        _record(context, found, reason)
    return found


def cancel(context: Context, domain: str) -> int:
    """End what is open in both directions; what was repaired stays so. Raises: Refused, Unreachable."""
    context.plan.domain(domain)
    ended = 0
    for direction in ("forward", "reverse"):
        stream = described(context, domain, direction)
        target = need_dsn(context.env, context.plan.database_of(domain, ends(direction)[1]).control)
        try:
            ended += asking.cancel(stream, target)
        except Transient as error:
            raise Unreachable(f"{domain}: {error}") from error
        except CdcError as error:
            raise Refused(str(error)) from error
    return ended


def _table(asked: Asked, ended: Sequence[Request]) -> Table:
    request = next((request for request in ended if request.id == asked.id), None)
    if request is None:
        raise PlanError(f"the request for {asked.table} is gone: was the stream filled anew?")
    spent = (request.ended_at - request.began_at).total_seconds() if request.ended_at and request.began_at else None
    return Table(asked.table, asked.target, request.rows, request.state, request.removed, spent, request.problem)


def _record(context: Context, found: Resnapshot, reason: str | None) -> None:
    measured = {"stream": found.stream, "tables": msgspec.to_builtins(found.tables)}
    entry = Entry(
        domain=found.domain,
        verb="snapshot",
        step="failed" if found.failed else "read again",
        run_id=uuid.uuid4().hex[:12],
        actor=context.actor,
        measured=measured,
        reason=reason,
    )
    context.ledger().append([entry])
