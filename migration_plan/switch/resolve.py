"""Where a wave's ownership stands, read from both databases, and how an interrupted switch is brought to an end.

The databases are the truth, not the ledger. Three situations can be found:

  settled         both rows name the same side                     nothing to do
  before 6        one row says `moving`, the other names that side  back: the writes return to where they were
  after 6         one row says `moving`, the other names itself     forward: the other side accepts writes already

Going back first raises the epoch in the *other* database: a controller that was thought dead, and that is about to set
the new owner there with the epoch it knew, is refused from then on. Only then does the old owner accept writes again.
So two owners cannot arise, whoever runs at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

from migration_plan.errors import OwnershipBroken, Unreachable
from migration_plan.plan import Side
from migration_plan.switch.ports import EpochMoved, Owned, OwnershipTable, other

# Each round lost to another controller means that it made progress; more than a few means something is broken.
ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Settled:
    side: Side
    epoch: int


@dataclass(frozen=True, slots=True)
class InFlight:
    """A switch away from `source`; `passed` the point of no return or not."""

    source: Side
    passed: bool


def locate(legacy: Owned, service: Owned) -> Settled | InFlight:
    """Raises: OwnershipBroken when the rows contradict each other."""
    match legacy.owner, service.owner:
        case "legacy", "legacy":
            return Settled("legacy", legacy.epoch)
        case "service", "service":
            return Settled("service", service.epoch)
        case "moving", "legacy":
            return InFlight("legacy", passed=False)
        case "moving", "service":
            return InFlight("legacy", passed=True)
        case "service", "moving":
            return InFlight("service", passed=False)
        case "legacy", "moving":
            return InFlight("service", passed=True)
        case _:
            raise OwnershipBroken(
                f"the databases contradict each other: legacy's says {legacy.owner} (epoch {legacy.epoch}),"
                f" the service's says {service.owner} (epoch {service.epoch}); stop the wrong one's writers, then"
                " correct its banyan.ownership"
            )


def resolve(legacy: OwnershipTable, service: OwnershipTable, *, uncrossed: bool = False) -> Settled:
    """End an interrupted switch: back before the point of no return, forward after it.

    `uncrossed`: the caller knows that nobody tried to cross with this fence: an unreachable target need not be told.
    Raises: Unreachable, OwnershipBroken.
    """
    tables: dict[Side, OwnershipTable] = {"legacy": legacy, "service": service}
    for _ in range(ROUNDS):
        try:
            settled = _round(tables, uncrossed)
        except EpochMoved:
            continue
        if settled is not None:
            return settled
    raise OwnershipBroken("the ownership keeps changing under our hands: find the other controller and stop it")


def _round(tables: dict[Side, OwnershipTable], uncrossed: bool) -> Settled | None:
    try:
        rows = {side: table.read() for side, table in tables.items()}
    except Unreachable:
        if uncrossed and (settled := _return_alone(tables)) is not None:
            return settled
        raise
    found = locate(rows["legacy"], rows["service"])
    if isinstance(found, Settled):
        return found
    source, target = found.source, other(found.source)
    if found.passed:
        tables[source].set_owner(target, rows[source].epoch, rows[target].epoch)
        return None
    epoch = max(rows[source].epoch, rows[target].epoch) + 1
    tables[target].set_owner(source, rows[target].epoch, epoch)
    tables[source].set_owner(source, rows[source].epoch, epoch)
    return None


def _return_alone(tables: dict[Side, OwnershipTable]) -> Settled | None:
    """One database is away, and it was never asked to take over: the other takes its writes back."""
    for side, table in tables.items():
        try:
            row = table.read()
        except Unreachable:
            continue
        if row.owner == "moving":
            table.set_owner(side, row.epoch, row.epoch + 1)
            return Settled(side, row.epoch + 1)
        if row.owner == side:
            return Settled(side, row.epoch)
    return None
