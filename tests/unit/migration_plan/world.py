"""Two databases, a stream, a gateway and a ledger in memory, with clients that write all the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from migration_plan.errors import Refused, Unreachable
from migration_plan.journey import SERVICE, Stand
from migration_plan.plan import Budgets, Side
from migration_plan.switch import Outcome, Recovered, Switch, recover
from migration_plan.switch.ports import (
    CatchUpTimeout,
    ChangesParked,
    EpochMoved,
    Fenced,
    FenceTimeout,
    Note,
    Owned,
    Ports,
    SequencesClash,
    other,
)

AT_50 = Stand("canary", 50)


class Killed(BaseException):
    """kill -9: nothing of the process runs after it."""


@dataclass
class World:
    """`trouble` maps a port's name to what it raises next, one per call."""

    rows: dict[Side, Owned] = field(
        default_factory=lambda: {"legacy": Owned("legacy", 1), "service": Owned("legacy", 1)}
    )
    data: dict[Side, list[int]] = field(default_factory=lambda: {"legacy": [], "service": []})
    accepted: list[int] = field(default_factory=list)
    routed: tuple[Owned, Stand] = (Owned("legacy", 1), AT_50)
    holding: bool = False
    parked: int = 0  # so many of the newest writes are refused by the side that they are copied to
    stand: Stand = AT_50
    notes: list[Note] = field(default_factory=list)
    intended: list[Stand] = field(default_factory=list)
    trouble: dict[str, list[BaseException | None]] = field(default_factory=dict)
    seconds: float = 0.0
    slow: dict[str, float] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def write(self) -> None:
        """Clients write at both sides; the guards decide. That both accept is the one thing that must not be."""
        takers = [side for side, row in self.rows.items() if row.owner == side]
        assert len(takers) <= 1, f"two writers: {self.rows}"
        for side in takers:
            number = len(self.accepted)
            self.accepted.append(number)
            self.data[side].append(number)

    def enter(self, name: str, answer_s: float | None = None) -> None:
        self.calls.append(name)
        takes = self.slow.get(name, 0.001)
        self.seconds += takes if answer_s is None else min(takes, answer_s)
        self.write()
        if answer_s is not None and takes > answer_s:
            raise Unreachable(f"no answer within {answer_s} s")
        waiting = self.trouble.get(name)
        if waiting and (error := waiting.pop(0)) is not None:
            raise error

    @property
    def owner(self) -> Side:
        [side] = [side for side, row in self.rows.items() if row.owner == side]
        return side

    def settled(self) -> None:
        """One owner, on whom databases, ledger and gateway agree; nobody waits; nothing is lost or doubled."""
        owner = self.owner
        assert self.rows["legacy"].owner == self.rows["service"].owner == owner
        assert not self.holding
        assert self.stand.owner == owner
        assert self.routed == (self.rows[owner], self.stand)
        assert self.data[owner] == self.accepted

    def ports(self) -> Ports:
        return Ports(
            Table(self, "legacy"), Table(self, "service"), Stream(self), Routes(self), Journal(self), Checks(self)
        )

    def switch(
        self, hook: Callable[[str, str], None] | None = None, source: Side | None = None, **budgets: int
    ) -> Outcome:
        """One run of the verb, as the command does it: end what was interrupted, then switch."""
        recovered = self.recover()
        side = source or recovered.owner
        before = recovered.stand
        after = SERVICE if side == "legacy" else AT_50
        self.intended = [after, before]
        return Switch(
            self.ports(), side, before, after, Budgets(**budgets), self.clock(), hook or (lambda step, when: None)
        ).run()

    def recover(self) -> Recovered:
        return recover(self.ports(), self.stand, self.intended)

    def clock(self) -> Clock:
        return Clock(self)


@dataclass
class Clock:
    world: World

    def now(self) -> float:
        return self.world.seconds

    def sleep(self, seconds: float) -> None:
        self.world.seconds += seconds


@dataclass
class Table:
    world: World
    side: Side

    def read(self) -> Owned:
        self.world.enter(f"{self.side}.read")
        return self.world.rows[self.side]

    def fence(self, expected_epoch: int) -> Fenced:
        self.world.enter(f"{self.side}.fence")
        if self.world.rows[self.side] != Owned(self.side, expected_epoch):
            raise EpochMoved("fence")
        self.world.rows[self.side] = Owned("moving", expected_epoch + 1)
        self.world.enter(f"{self.side}.fenced")
        return Fenced(expected_epoch + 1, "0/1")

    def set_owner(self, owner: Side, expected_epoch: int, new_epoch: int, *, answer_s: float | None = None) -> None:
        self.world.enter(f"{self.side}.set_owner", answer_s)
        row = self.world.rows[self.side]
        assert new_epoch >= expected_epoch, "an epoch never falls"
        if row == Owned(owner, new_epoch):
            return
        if row.epoch != expected_epoch or (row.owner == self.side and owner != self.side):
            raise EpochMoved("set_owner")
        self.world.rows[self.side] = Owned(owner, new_epoch)
        self.world.enter(f"{self.side}.owner_set")


@dataclass
class Stream:
    world: World

    def wait_fence(self, fenced: Fenced, timeout_s: float) -> None:
        self.world.enter("stream.wait_fence")
        if timeout_s <= 0 or self.world.slow.get("stream.wait_fence", 0) > timeout_s:
            raise CatchUpTimeout(f"the marker was not applied within {timeout_s:.1f} s")
        [source] = [side for side, row in self.world.rows.items() if row == Owned("moving", fenced.epoch)] or [None]
        if source is not None:
            arrived = self.world.data[source]
            self.world.data[other(source)] = arrived[: len(arrived) - self.world.parked]

    def check_parked(self) -> dict[str, Any]:
        self.world.enter("stream.check_parked")
        if self.world.parked:
            raise ChangesParked(f"{self.world.parked} parked keys")
        return {"parked": 0}

    def check_sequences(self) -> dict[str, Any]:
        self.world.enter("stream.check_sequences")
        return {}


@dataclass
class Routes:
    world: World

    def hold(self) -> bool:
        self.world.enter("routes.hold")
        self.world.holding = True
        return True

    def publish(self, owned: Owned, stand: Stand) -> dict[str, Any]:
        self.world.enter("routes.publish")
        if owned.epoch >= self.world.routed[0].epoch:  # an older controller's news are no news
            self.world.holding = False
            self.world.routed = (owned, stand)
        return {"gateway": "told"}


@dataclass
class Journal:
    world: World

    def write(self, notes: Sequence[Note], stand: Stand | None = None, owned: Owned | None = None) -> None:
        self.world.enter("journal.write")
        self.world.notes.extend(notes)
        if stand is not None:
            self.world.stand = stand


@dataclass
class Checks:
    world: World

    def preflight(self) -> dict[str, Any]:
        self.world.enter("checks.preflight")
        return {}

    def verify(self) -> dict[str, Any]:
        self.world.enter("checks.verify")
        return {"clean": True}


__all__ = ["AT_50", "FenceTimeout", "Killed", "Refused", "SequencesClash", "Unreachable", "World"]
