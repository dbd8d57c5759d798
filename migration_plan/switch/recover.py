"""What every verb does first: end what was left half done; ledger and gateways then say what the databases say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migration_plan.errors import Unreachable
from migration_plan.journey import LEGACY, SERVICE, Stand
from migration_plan.plan import Side
from migration_plan.switch.ports import Note, Owned, OwnershipTable, Ports, Routes
from migration_plan.switch.resolve import InFlight, Settled, locate, resolve


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the wave stands for certain. `repaired` says what had to be done, None when nothing."""

    owner: Side
    epoch: int
    stand: Stand
    repaired: str | None
    published: dict[str, Any]


def recover(
    ports: Ports, recorded: Stand | None, intended: Sequence[Stand] = (), *, only_reads: bool = False
) -> Recovered:
    """Settle the ownership and make the record follow it.

    `recorded` is where the ledger says that the wave stands; `intended` where the last run wanted to take it, or came
    from; `only_reads`: the step that follows moves no writes. Raises: Unreachable (a database), OwnershipBroken. A
    gateway that is away is told later; see `published`.
    """
    found = _found(ports, only_reads)
    settled = resolve(ports.legacy, ports.service) if isinstance(found, InFlight) else found
    stand = _stand(settled, recorded, intended)
    owned = Owned(settled.side, settled.epoch)
    repaired = _what(found, settled, recorded, stand)
    published = _publish(ports.routes, owned, stand)
    if repaired is not None:
        ports.journal.write([Note("recover", "done", settled.epoch, {"published": published}, repaired)], stand, owned)
    return Recovered(settled.side, settled.epoch, stand, repaired, published)


def _found(ports: Ports, only_reads: bool) -> Settled | InFlight:
    """A service whose database is gone must not keep the reads: where legacy's own row says that legacy accepts the
    writes, no row of the service can say that the service does, so the way back of reads need not ask it.
    """
    legacy = ports.legacy.read()
    try:
        return locate(legacy, ports.service.read())
    except Unreachable:
        if only_reads and legacy.owner == "legacy":
            return Settled("legacy", legacy.epoch)
        raise


def outlook(legacy: OwnershipTable, service: OwnershipTable) -> str | None:
    """What `recover` would do to the ownership, for --dry-run."""
    found = locate(legacy.read(), service.read())
    if isinstance(found, Settled):
        return None
    way = "forward: the new owner accepts writes already" if found.passed else f"back to {found.source}"
    return f"an interrupted switch away from {found.source} is ended first, {way}"


def _stand(settled: Settled, recorded: Stand | None, intended: Sequence[Stand]) -> Stand:
    candidates = [stand for stand in (recorded, *intended) if stand is not None and stand.owner == settled.side]
    return candidates[0] if candidates else (SERVICE if settled.side == "service" else LEGACY)


def _what(found: Settled | InFlight, settled: Settled, recorded: Stand | None, stand: Stand) -> str | None:
    if isinstance(found, InFlight):
        way = "forward" if found.passed else "back"
        return f"a switch away from {found.source} was interrupted; taken {way}: {settled.side} accepts the writes"
    if recorded is not None and recorded != stand:
        return f"the ledger said {recorded}, the databases say that {settled.side} owns the writes: {stand}"
    return None


def _publish(routes: Routes, owned: Owned, stand: Stand) -> dict[str, Any]:
    try:
        return routes.publish(owned, stand)
    except Unreachable as error:
        return {"gateway": "not told", "why": str(error)}
