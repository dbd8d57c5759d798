"""Gateways with tables of their own age, clients that write and read their own writes, old-snapshot transactions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from migration_plan.model.rules import Rules
from migration_plan.model.state import EXPIRED, FREE, HELD, Request, State, Table, number
from migration_plan.plan import Side

T = TypeVar("T")
JOB = -1
MOST_REROUTES = 2  # gateway/http1/recovery.py
Event = tuple[str, State]


def gateways(state: State) -> Iterator[Event]:
    """gateway/control: a table arrives late, or not at all; gateway/policies/holds.py: a hold has its own end."""
    for g, table in enumerate(state.gateways):
        if table != state.table and not (table[2] == EXPIRED and state.table == (*table[:2], HELD)):
            yield f"gateway {g} takes {_said(state.table)}", _take(state, g, state.table, keep=())
        if table[2] == HELD:
            expired = (*table[:2], EXPIRED)
            yield f"gateway {g}: the hold is too old, it sends", _take(state, g, expired, keep=state.late[g])


def clients(state: State, rules: Rules, job: int | None) -> Iterator[Event]:
    """`job`: the client that is the monolith's own."""
    for client, request in enumerate(state.requests):
        if request is None:
            if state.left[client]:
                yield from _begin(state, client, client == job)
        elif request.at == "new":
            yield from _route(state, client, request)
        elif request.at == "held":
            yield from _held(state, client, request, rules)
        elif request.at == "begun":
            yield from _guard(state, client, request, rules)
        else:
            yield _commit(state, client, request, rules)


def read_sides(state: State, g: int, client: int, rules: Rules) -> tuple[Side, ...]:
    """Where gateway `g` may send this client's read now (routing/decision.py, policies/pins.py); (): it waits."""
    owner, _, hold = state.gateways[g]
    written = state.pins[client]
    if rules.held_reads_wait and hold != FREE and client in state.late[g] and written is not None:
        # gateway/http1/patience.py `wrote_since_the_hold`
        both = all(sent >= there for sent, there in zip(state.sent, written, strict=True))
        if not both:
            return ()
    if owner == "service":
        return ("service",)
    # The watermark that counts is that of the stream which this gateway's owner is the source of.
    if written is not None and g in state.knows[client] and state.sent[number(owner)] < written[number(owner)]:
        return ("legacy",)
    return ("legacy", "service")


def _begin(state: State, client: int, is_job: bool) -> Iterator[Event]:
    write = client * 10 + _made(state, client)
    left = _at(state.left, client, state.left[client] - 1)
    if is_job:
        request = Request("begun", JOB, write, "legacy", state.owned[0])
        yield f"job: write {write} begins at legacy", _ask(state, client, request)._replace(left=left)
        return
    for g in range(len(state.gateways)):
        after = _ask(state, client, Request("new", g, write))._replace(left=left)
        yield f"client {client}: write {write} through gateway {g}", after


def _made(state: State, client: int) -> int:
    return 1 + sum(write // 10 == client for write in (*state.accepted, *state.refused))


def _route(state: State, client: int, request: Request) -> Iterator[Event]:
    owner, _, hold = state.gateways[request.gateway]
    if request.reroutes:
        side: Side = request.side
    elif hold == HELD or owner == "moving":
        yield f"gateway {request.gateway} holds write {request.write}", _ask(state, client, request._replace(at="held"))
        return
    else:
        side = "service" if owner == "service" else "legacy"
    sent = request._replace(at="begun", side=side, snapshot=state.owned[number(side)])
    yield f"write {request.write} begins at {side}", _ask(state, client, sent)


def _held(state: State, client: int, request: Request, rules: Rules) -> Iterator[Event]:
    table = state.gateways[request.gateway]
    write = request.write
    if table[2] != HELD:
        again = request._replace(at="new", reroutes=0)
        yield f"gateway {request.gateway} releases write {write}", _ask(state, client, again)
    refused = state._replace(refused=(*state.refused, write))
    if rules.leaves_once:
        yield f"write {write} has waited too long: 503", _ask(refused, client, None)
    elif write not in state.refused:
        yield f"write {write} has waited too long: 503, and it stays in the room", refused


def _guard(state: State, client: int, request: Request, rules: Rules) -> Iterator[Event]:
    """guard.sql `banyan.guard`. A transaction of a snapshot that is older than the row's change fails (40001)."""
    side, write = request.side, request.write
    row = state.owned[number(side)]
    seen = row if rules.guard_locks else request.snapshot
    if seen != request.snapshot:
        yield f"write {write}: snapshot too old at {side}, not done", _not_done(state, client, request, "")
    elif seen[0] == side:
        yield f"the guard at {side} lets write {write} in", _ask(state, client, request._replace(at="let in"))
    else:
        yield f"421 from {side} for write {write}: {seen[0]}", _not_done(state, client, request, seen[0])


def _not_done(state: State, client: int, request: Request, owner: str) -> State:
    if request.gateway == JOB:
        return _ask(state, client, None)
    if owner in ("legacy", "service") and request.reroutes < MOST_REROUTES:
        side: Side = "service" if owner == "service" else "legacy"
        return _ask(
            state, client, request._replace(at="new", side=side, snapshot=("", 0), reroutes=request.reroutes + 1)
        )
    return _ask(state, client, request._replace(at="held", side="legacy", snapshot=("", 0), reroutes=0))


def _commit(state: State, client: int, request: Request, rules: Rules) -> Event:
    at, write = number(request.side), request.write
    log = list(state.log)
    log[at] = (*log[at], write)
    rows = list(state.rows)
    rows[at] = (*rows[at], write)
    after = _ask(state, client, None)._replace(
        log=(log[0], log[1]), rows=(rows[0], rows[1]), accepted=(*state.accepted, write)
    )
    if request.gateway == JOB:
        return f"write {write} of the job commits at {request.side}", after
    known = tuple(range(len(state.gateways))) if rules.pins_shared else (request.gateway,)
    late = tuple(
        tuple(sorted({*who, client})) if g in known and state.gateways[g][2] != FREE else who
        for g, who in enumerate(state.late)
    )
    after = after._replace(
        pins=_at(state.pins, client, (len(log[0]), len(log[1]))), knows=_at(state.knows, client, known), late=late
    )
    return f"write {write} commits at {request.side}: 201", after


def _take(state: State, g: int, table: Table, keep: tuple[int, ...]) -> State:
    missed = _at(state.missed, g, state.missed[g] and table[2] != FREE)
    return state._replace(gateways=_at(state.gateways, g, table), late=_at(state.late, g, keep), missed=missed)


def _ask(state: State, client: int, request: Request | None) -> State:
    return state._replace(requests=_at(state.requests, client, request))


def _at(values: tuple[T, ...], at: int, value: T) -> tuple[T, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _said(table: Table) -> str:
    return f"{table[0]} (epoch {table[1]}){', hold' if table[2] else ''}"
