"""What a controller's call does: the functions of cdc/guard/guard.sql, the fence's marker, the gateways' table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from migration_plan.model.controller import Answer, Call
from migration_plan.model.rules import Rules
from migration_plan.model.state import FREE, HELD, SIDES, State, number

T = TypeVar("T")

#: What happened in words, the answer (None: the process does not hear it), and the state after it.
Outcome = tuple[str, Answer, State]
AWAY: Answer = ("!", "Unreachable")
MOVED: Answer = ("!", "EpochMoved")
DONE: Answer = ("=", None)


def outcomes(state: State, call: Call, rules: Rules) -> Iterator[Outcome]:
    """Everything that may come of `call` now; nothing: it waits."""
    words = describe(call)
    if state.losses:
        lost = state._replace(losses=state.losses - 1)
        yield f"{words}: not reached", AWAY, lost
        for text, answer, after in _done(lost, call, rules):
            if after is not lost and answer[0] == "=":
                yield f"{words}: {text}, but its answer is lost", AWAY, after
    for text, answer, after in _done(state, call, rules):
        yield f"{words}: {text}", answer, after


def describe(call: Call) -> str:
    match call:
        case ("read", side):
            return f"reads {side}'s owner"
        case ("fence", side, epoch):
            return f"step 3, fence at {side} (epoch {epoch})"
        case ("set", side, owner, _, epoch):
            return f"{side}'s database: owner := {owner} (epoch {epoch})"
        case ("wait", source, epoch):
            return f"step 4, waits for the marker {epoch} of {source}"
        case ("position", side):
            return f"reads {side}'s log position"
        case ("wait position", source, position):
            return f"waits for position {position} of {source}"
        case ("hold",):
            return "step 2, hold"
        case ("publish", owner, epoch):
            return f"publishes {owner} (epoch {epoch})"
        case _:
            return str(call)


def _done(state: State, call: Call, rules: Rules) -> Iterator[Outcome]:
    match call:
        case ("read", side):
            row = state.owned[number(side)]
            yield f"{row[0]}, epoch {row[1]}", ("=", row), state
        case ("fence", side, expected):
            yield from _fence(state, side, expected, rules)
        case ("set", side, owner, expected, epoch):
            yield _set_owner(state, side, owner, expected, epoch)
        case ("wait", source, epoch):
            applied = state.log[number(source)][: state.sent[number(source)]]
            if -epoch in applied:
                yield "applied", DONE, state
            else:
                yield "not in time", ("!", "CatchUpTimeout"), state
        case ("position", side):
            at = len(state.log[number(side)])
            yield f"{at}", ("=", at), state
        case ("wait position", source, position):
            if state.sent[number(source)] >= position:
                yield "applied", DONE, state
        case ("hold",):
            owner, epoch, _ = state.table
            yield "published", ("=", True), state._replace(table=(owner, epoch, HELD))
        case ("publish", owner, epoch):
            # switch/routes.py `_newest`: what a newer epoch says stays.
            if epoch < state.table[1]:
                yield "older than what the gateways have", DONE, state
            else:
                yield "done", DONE, state._replace(table=(owner, epoch, FREE))


def _fence(state: State, side: str, expected: int, rules: Rules) -> Iterator[Outcome]:
    """banyan.fence: expect, LOCK TABLE … SHARE ROW EXCLUSIVE, owner := moving, epoch + 1, the marker; one commit."""
    at = number(side)
    if state.owned[at] != (side, expected):
        yield "refused, the epoch has moved", MOVED, state
        return
    if any(request is not None and request.at == "let in" and request.side == side for request in state.requests):
        if state.timeouts:
            yield "no locks in time", ("!", "FenceTimeout"), state._replace(timeouts=state.timeouts - 1)
        return
    epoch = expected + 1
    log = (*state.log[at], -epoch) if rules.marker else state.log[at]
    known = state.table[:2]
    missed = tuple(
        was or table[:2] != known or table[2] == FREE for was, table in zip(state.missed, state.gateways, strict=True)
    )
    after = state._replace(owned=put(state.owned, at, ("moving", epoch)), log=put(state.log, at, log), missed=missed)
    yield "stands", ("=", epoch), after


def _set_owner(state: State, side: str, owner: str, expected: int, epoch: int) -> Outcome:
    """banyan.set_owner: said twice it changes nothing; else the epoch must be the expected one; no lock is needed,
    since only a `moving` or a foreign row changes so.
    """
    at = number(side)
    held = state.owned[at]
    if held == (owner, epoch):
        return "said before", DONE, state
    if held[1] != expected:
        return "refused, the epoch has moved", MOVED, state
    if held[0] == side and owner != side:
        return "refused, it takes writes here", MOVED, state
    return "done", DONE, state._replace(owned=put(state.owned, at, (owner, epoch)))


def apply(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    """cdc/apply: the next transaction of each direction, with its position in the same commit; a crash in between."""
    for at, source in enumerate(SIDES):
        target = 1 - at
        if at == 1 and not rules.reverse_runs:
            continue
        log, stored, here = state.log[at], state.sent[at], state.delivered[at]
        if here < len(log) and (rules.position_with_rows or here == stored):
            entry = log[here]
            rows = state.rows if entry < 0 else put(state.rows, target, (*state.rows[target], entry))
            sent = put(state.sent, at, here + 1) if rules.position_with_rows else state.sent
            what = f"the marker {-entry}" if entry < 0 else f"write {entry}"
            after = state._replace(rows=rows, sent=sent, delivered=put(state.delivered, at, here + 1))
            yield f"applier: {what} of {source} reaches {SIDES[target]}", after
        if here != stored:
            yield f"applier from {source}: stores its position", state._replace(sent=put(state.sent, at, here))
            back = state._replace(delivered=put(state.delivered, at, stored))
            yield f"applier from {source}: dies and starts at its stored position", back


def put(pair: tuple[T, T], at: int, value: T) -> tuple[T, T]:
    """`pair` with another value at 0 or 1."""
    return (value, pair[1]) if at == 0 else (pair[0], value)
