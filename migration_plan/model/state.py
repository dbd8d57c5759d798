"""One state of the model, and how much may happen in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from migration_plan.plan import Side

#: owner, epoch: a wave's row in one database's banyan.ownership.
OwnedRow = tuple[str, int]
#: owner, epoch, hold (HELD, or EXPIRED at a gateway that has waited long enough): a wave in a route table.
Table = tuple[str, int, int]
FREE, HELD, EXPIRED = 0, 1, 2
#: What a controller runs, and the answers that it has had so far: all that it does next follows from them.
Controller = tuple[str, tuple[Any, ...]]


class Request(NamedTuple):
    """A client's write: at a gateway (`new`, `held`), or a transaction at `side` (`begun` with a snapshot, `let in`).

    `gateway` -1: a job of the monolith, which passes no gateway.
    """

    at: str
    gateway: int
    write: int
    side: Side = "legacy"
    snapshot: OwnedRow = ("", 0)
    reroutes: int = 0


class State(NamedTuple):
    """Writes are numbered client × 10 + n. In a log a write is its number, a fence's marker its epoch below zero.

    A key is its client's own, so a side's rows of it are the writes that it has applied, in order.
    """

    owned: tuple[OwnedRow, OwnedRow]  # legacy's, the service's
    log: tuple[tuple[int, ...], tuple[int, ...]]  # what each side's applications wrote (origin none)
    sent: tuple[int, int]  # so much of each side's log has been applied at the other: banyan.stream.source_lsn
    delivered: tuple[int, int]  # where the applier is; after its crash, what was `sent`
    rows: tuple[tuple[int, ...], tuple[int, ...]]
    accepted: tuple[int, ...]  # in the order of their commits
    refused: tuple[int, ...]  # answered 503: sure not to be done
    table: Table  # as published
    gateways: tuple[Table, ...]  # as each of them has it
    missed: tuple[bool, ...]  # each gateway: it had no hold when the fence came, and has had no table since
    late: tuple[tuple[int, ...], ...]  # each gateway: clients whose pin came after its hold
    pins: tuple[tuple[int, int] | None, ...]  # each client: both logs' lengths at its newest write
    knows: tuple[tuple[int, ...], ...]  # each client: gateways that know its pin
    requests: tuple[Request | None, ...]
    left: tuple[int, ...]  # writes that each client will still make
    controllers: tuple[Controller | None, ...]
    runs: tuple[str, ...]  # verbs that an operator will still start
    crashes: int
    losses: int  # calls that will not be answered
    timeouts: int  # fences that will not get their locks; a marker may be late at any time


@dataclass(frozen=True, slots=True)
class Limits:
    """`writes`: of each client that passes a gateway; `job`: of the monolith's own; `runs`: verbs, in any order."""

    writes: tuple[int, ...] = (1,)
    job: int = 1
    gateways: int = 2
    runs: tuple[str, ...] = ("switch", "rollback")
    at_once: int = 2  # controllers: one of them was thought dead, or has lost its lease
    crashes: int = 1
    losses: int = 1
    timeouts: int = 1


#: Three worlds, each small enough to be looked at whole: stale tables and reads of own writes; writers, one of them the
#: monolith's job, and time-outs; two controllers at once, one of which was thought dead.
QUICK = {
    "gateways": Limits(job=0, at_once=1, crashes=0, losses=0, timeouts=0),
    "writers": Limits(gateways=1, runs=("switch",), at_once=1, losses=0),
    "controllers": Limits(writes=(), job=0, gateways=0, timeouts=0),
}
#: The same with more of everything: two keys, there and back, minutes.
LARGE = {
    "gateways": Limits(writes=(1, 1), job=0, runs=("switch",), at_once=1, losses=0, timeouts=0),
    "writers": Limits(gateways=1, at_once=1, losses=0),
    "controllers": Limits(writes=(), gateways=0),
}
SIDES: tuple[Side, Side] = ("legacy", "service")


def number(side: str) -> int:
    return 0 if side == "legacy" else 1


def initial(limits: Limits) -> State:
    """The last canary step: legacy owns the writes, reads may go to either side, both streams run."""
    clients = len(limits.writes) + (1 if limits.job else 0)
    return State(
        owned=(("legacy", 1), ("legacy", 1)),
        log=((), ()),
        sent=(0, 0),
        delivered=(0, 0),
        rows=((), ()),
        accepted=(),
        refused=(),
        table=("legacy", 1, FREE),
        gateways=(("legacy", 1, FREE),) * limits.gateways,
        missed=(False,) * limits.gateways,
        late=((),) * limits.gateways,
        pins=(None,) * clients,
        knows=((),) * clients,
        requests=(None,) * clients,
        left=(*limits.writes, *((limits.job,) if limits.job else ())),
        controllers=(None,) * limits.at_once,
        runs=limits.runs,
        crashes=limits.crashes,
        losses=limits.losses,
        timeouts=limits.timeouts,
    )


def settled(state: State) -> bool:
    """No step is under way: both databases and the published table name one owner, and nothing is held."""
    (owner, epoch), (theirs, _) = state.owned
    mine = state.owned[number(owner)] if owner != "moving" else ("", 0)
    return owner == theirs == mine[0] and state.table == (owner, mine[1], FREE) and epoch > 0
