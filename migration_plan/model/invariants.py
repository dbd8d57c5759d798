"""What must hold in every state (design.md §4), each as one sentence that says what is broken; None: it holds."""

from __future__ import annotations

from migration_plan.model.clients import read_sides
from migration_plan.model.rules import Rules
from migration_plan.model.state import SIDES, State, number, settled


def broken(state: State, rules: Rules, clients: int) -> str | None:
    """`clients`: how many pass a gateway."""
    return (
        _one_writer(state) or _nothing_lost_or_twice(state) or _503_is_not_done(state) or _reads(state, rules, clients)
    )


def _one_writer(state: State) -> str | None:
    (legacy, _), (service, _) = state.owned
    return "two writers: each database says that its own side owns the wave" if (legacy, service) == SIDES else None


def _nothing_lost_or_twice(state: State) -> str | None:
    """The owner has what was accepted, once, in the order of the commits; the other side what of it was sent there."""
    for at, side in enumerate(SIDES):
        rows = state.rows[at]
        if len(set(rows)) < len(rows):
            return f"twice: {side} has {rows}"
        if state.owned[at][0] == side and rows != state.accepted:
            return f"lost: {side} takes the writes and has {rows}, accepted were {state.accepted}"
        log = state.log[1 - at]
        # Both logs at their ends: the watermarks have passed everything.
        if all(sent == len(there) for sent, there in zip(state.sent, state.log, strict=True)) and set(rows) != set(
            state.accepted
        ):
            return f"lost: all is synced, {side} has {rows}, accepted were {state.accepted} (log {log})"
    return None


def _503_is_not_done(state: State) -> str | None:
    both = [write for write in state.refused if write in state.accepted]
    return f"write {both[0]} was answered 503 and done" if both else None


def _reads(state: State, rules: Rules, clients: int) -> str | None:
    """At any moment any client without a write under way may read through any gateway that has heard of the switch."""
    for client in range(clients):
        if state.requests[client] is not None or state.pins[client] is None:
            continue
        own = [write for write in state.accepted if write // 10 == client]
        for g in range(len(state.gateways)):
            if state.missed[g]:
                continue
            for side in read_sides(state, g, client, rules):
                if any(write not in state.rows[number(side)] for write in own):
                    return f"stale: client {client} reads through gateway {g} at {side}, which lacks its write"
    return None


def at_rest(state: State) -> bool:
    """Reached again from everywhere: a switch is never stuck."""
    return settled(state)


def went_back(state: State) -> bool:
    """Reached from everywhere where a rollback is still to come, or legacy owns the writes already."""
    return settled(state) and state.owned[0][0] == "legacy"
