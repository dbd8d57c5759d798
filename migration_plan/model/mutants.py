"""The protocol with one promise broken, each a mistake that somebody made or could make: the model must find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from unittest.mock import patch

from migration_plan.model.controller import Controllers, Replay, run
from migration_plan.model.explore import Found, explore
from migration_plan.model.rules import Rules
from migration_plan.model.state import Limits
from migration_plan.plan import Side
from migration_plan.switch import Switch, steps
from migration_plan.switch.ports import Fenced, Owned, OwnershipTable, other
from migration_plan.switch.resolve import Settled, locate

_SOUND = Rules()
# The package hands on a function of the same name.
_resolve_module = import_module("migration_plan.switch.resolve")
_ONE = Limits(writes=(1,), job=0, gateways=1, runs=("switch",), at_once=1, crashes=1, losses=0, timeouts=0)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`broken`: what the counterexample's problem begins with. `limits`: the smallest bounds in which it shows."""

    name: str
    what: str
    broken: str
    limits: Limits = _ONE
    rules: Rules = _SOUND
    switch: type[Switch] = Switch
    round_: Callable[[dict[Side, OwnershipTable], bool], Settled | None] | None = field(default=None, repr=False)

    def explore(self) -> Found:
        def verb(replay: Replay, name: str, switch: type[Switch]) -> None:
            with _resolving(self.round_):
                run(replay, name, switch)

        return explore(self.limits, self.rules, Controllers(self.switch, verb if self.round_ else run))


@contextmanager
def _resolving(round_: Callable[[dict[Side, OwnershipTable], bool], Settled | None] | None) -> Iterator[None]:
    with patch.object(_resolve_module, "_round", round_):
        yield


class _OpensBeforeCatchUp(Switch):
    def _hand_over(self, fenced: Fenced) -> int:
        epoch = self._cross(fenced)
        self._record.step(steps.CATCH_UP, lambda: self._catch_up(fenced))
        return epoch


class _ConfirmsBeforeCrossing(Switch):
    def _cross(self, fenced: Fenced) -> int:
        self.ports.table(self.source).set_owner(self.target, fenced.epoch, fenced.epoch)
        return super()._cross(fenced)


class _PublishesFirst(Switch):
    def _hand_over(self, fenced: Fenced) -> int:
        self.ports.routes.publish(Owned(self.target, fenced.epoch), self.after)
        return super()._hand_over(fenced)


class _ReadsTheEpochAtTheCrossing(Switch):
    def _cross(self, fenced: Fenced) -> int:
        self._target_epoch = self.ports.table(self.target).read().epoch
        return super()._cross(fenced)


class _TakesThePositionFirst(Switch):
    """pt-online-schema-change and others: the position is read, then the last writers finish."""

    def _stop_writes(self) -> tuple[Fenced, int]:
        self._position = self._asks().ask("position", self.source)
        return super()._stop_writes()

    def _catch_up(self, fenced: Fenced) -> dict[str, object]:
        self._asks().ask("wait position", self.source, self._position)
        return {}

    def _asks(self) -> Replay:
        replay: Replay = self.ports.stream._replay  # type: ignore[attr-defined]
        return replay


def _back_at_the_old_owner_first(tables: dict[Side, OwnershipTable], uncrossed: bool) -> Settled | None:
    rows = {side: table.read() for side, table in tables.items()}
    found = locate(rows["legacy"], rows["service"])
    if isinstance(found, Settled):
        return found
    source, target = found.source, other(found.source)
    if found.passed:
        tables[source].set_owner(target, rows[source].epoch, rows[target].epoch)
        return None
    tables[source].set_owner(source, rows[source].epoch, max(row.epoch for row in rows.values()) + 1)
    return Settled(source, max(row.epoch for row in rows.values()) + 1)


def _always_back(tables: dict[Side, OwnershipTable], uncrossed: bool) -> Settled | None:
    rows = {side: table.read() for side, table in tables.items()}
    found = locate(rows["legacy"], rows["service"])
    if isinstance(found, Settled):
        return found
    source = found.source
    tables[source].set_owner(source, rows[source].epoch, rows[source].epoch + 1)
    return Settled(source, rows[source].epoch + 1)


_WITH_JOB = Limits(writes=(), job=1, gateways=0, runs=("switch",), at_once=1, crashes=0, losses=0, timeouts=0)
_TWO_CONTROLLERS = Limits(
    writes=(), job=0, gateways=0, runs=("switch", "switch"), at_once=2, crashes=0, losses=0, timeouts=0
)
_THERE_AND_BACK = Limits(
    writes=(1,), job=0, gateways=1, runs=("switch", "rollback"), at_once=1, crashes=0, losses=0, timeouts=1
)
_TWO_GATEWAYS = Limits(writes=(1,), job=0, gateways=2, runs=("switch",), at_once=1, crashes=0, losses=0, timeouts=0)

MUTANTS = (
    Mutant(
        "open-before-catch-up",
        "the new owner takes writes (step 6) before the marker has been applied (step 4)",
        "lost",
        switch=_OpensBeforeCatchUp,
    ),
    Mutant(
        "position-before-the-fence",
        "no marker: the switch waits for a position of the log that it read before the fence",
        "lost",
        rules=Rules(marker=False),
        switch=_TakesThePositionFirst,
    ),
    Mutant(
        "confirm-before-crossing",
        "the old owner's row names the new owner (step 7) before the new owner's does (step 6)",
        "stuck",
        switch=_ConfirmsBeforeCrossing,
    ),
    Mutant(
        "routes-before-owner",
        "the routes are published when the fence stands, before the new owner has caught up",
        "stale",
        switch=_PublishesFirst,
    ),
    Mutant(
        "plain-guard",
        "the guard reads the owner as the transaction's snapshot has it, without FOR SHARE",
        "lost",
        limits=_WITH_JOB,
        rules=Rules(guard_locks=False),
    ),
    Mutant(
        "held-twice",
        "a held request that is answered 503 stays in the room, and is sent when the hold ends",
        "write 1 was answered 503 and done",
        rules=Rules(leaves_once=False),
    ),
    Mutant(
        "back-after-the-point-of-no-return",
        "a recovery gives the writes back though the new owner takes them already",
        "two writers",
        limits=Limits(writes=(), job=0, gateways=0, runs=("switch",), at_once=1, crashes=1, losses=0, timeouts=0),
        round_=_always_back,
    ),
    Mutant(
        "back-without-raising-the-other-epoch",
        "a recovery opens the old owner without first refusing the step 6 of a controller that was thought dead",
        "two writers",
        limits=_TWO_CONTROLLERS,
        round_=_back_at_the_old_owner_first,
    ),
    Mutant(
        "epoch-read-at-the-crossing",
        "step 6 expects whatever epoch it finds, not the one from before the fence",
        "two writers",
        limits=_TWO_CONTROLLERS,
        switch=_ReadsTheEpochAtTheCrossing,
    ),
    Mutant(
        "no-reverse",
        "the stream back to legacy does not run",
        "no way back",
        limits=_THERE_AND_BACK,
        rules=Rules(reverse_runs=False),
    ),
    Mutant(
        "position-apart",
        "the applier stores its position in a transaction of its own",
        "twice",
        rules=Rules(position_with_rows=False),
    ),
    Mutant(
        "pins-not-shared",
        "only the gateway that passed a write knows that its client reads at the owner",
        "stale",
        limits=_TWO_GATEWAYS,
        rules=Rules(pins_shared=False),
    ),
    Mutant(
        "reads-go-on-by-a-held-table",
        "a gateway whose table is still the hold's reads for a client that has written at the new owner",
        "stale",
        limits=_TWO_GATEWAYS,
        rules=Rules(held_reads_wait=False),
    ),
)
