"""The decision for one request: which side, why, and what may happen when that side fails. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gateway.control.table import Wave

Side = Literal["legacy", "service"]
Reason = Literal[
    "default", "phase", "canary", "owner", "pin", "fallback", "native", "rerouted", "breaker-open", "override"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """`hold`: keep the request until its wave has an owner.

    `shadow`: the upstream that gets a copy of this read, or a dry run of this write.
    `behind`: this side does not own all that the read may show, and is asked only when it has the client's last write.
    """

    domain: str
    side: Side
    upstream: str
    reason: Reason
    banner: bytes
    hold: bool = False
    shadow: str | None = None
    behind: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Every decision that can be taken for the requests of one bucket; made when the table is compiled.

    `read`, `write`: the normal one. `pinned`: for a read of a client that wrote a moment ago. `detour`, `fallback`:
    legacy instead of a service whose breaker is open, or that failed; None when legacy cannot answer. `owner`: the side
    whose writes pin; while it is `moving`, the one that had the writes until now. `wave`, `epoch`: of its owner.
    """

    read: Decision
    write: Decision
    pinned: Decision
    detour: Decision | None
    fallback: Decision | None
    rerouted: dict[str, Decision]
    owner: Side
    wave: int | None = None  # None: several
    epoch: int = 0


def decide(slot: Slot, *, is_read: bool, pinned: bool = False, service_usable: bool = True) -> Decision:
    """The one place where a side is chosen. `service_usable`: breaker closed (or probing) and healthy."""
    if not is_read:
        return slot.write
    first = slot.pinned if pinned else slot.read
    if first.side == "service" and not service_usable and slot.detour is not None:
        return slot.detour
    return first


class SlotMaker:
    """Makes the slots of one domain."""

    def __init__(self, domain: str, service: str, version: int, *, shadowed: bool, rehearsed: bool = False) -> None:
        self.domain = domain
        self.service = service
        self.version = version
        self.shadowed = shadowed
        self.rehearsed = rehearsed

    def decision(
        self, side: Side, reason: Reason, *, hold: bool = False, shadow: bool = False, behind: bool = False
    ) -> Decision:
        upstream = self.service if side == "service" else "legacy"
        other = "legacy" if side == "service" else self.service
        banner = (
            f"Banyan-Route: domain={self.domain}; side={side}; reason={reason}; version={self.version}\r\n".encode()
        )
        return Decision(self.domain, side, upstream, reason, banner, hold, other if shadow else None, behind)

    def of_wave(self, wave: Wave, in_canary: bool) -> Slot:
        """The slot of the wave's buckets that are inside, or outside, its canary."""
        comparing = self.shadowed and wave.phase in ("shadow", "canary")
        held = wave.hold or wave.owner == "moving"
        owner: Side = "service" if wave.owner == "service" else "legacy"
        # A dry run goes only to the service: the monolith cannot rehearse, and would do it.
        rehearsing = self.rehearsed and wave.owner == "legacy" and not held and wave.phase in ("shadow", "canary")
        if wave.phase == "canary":
            read = self.decision("service" if in_canary else "legacy", "canary", shadow=comparing)
        else:
            read = self.decision(
                "service" if wave.phase in ("service", "retired") else "legacy", "phase", shadow=comparing
            )
        arrived = wave.phase in ("service", "retired")
        # The reads of a phase are at the side that has its writes until the move is over (a rollback: the service).
        source: Side = ("service" if arrived else "legacy") if wave.owner == "moving" else owner
        pinned = self.decision(source, "pin", shadow=comparing) if source != read.side else read
        behind = source == "service"
        has_way_back = wave.phase != "retired"
        return Slot(
            read=read,
            write=self.decision(owner, "owner", hold=held, shadow=rehearsing),
            pinned=pinned,
            detour=self.decision("legacy", "breaker-open", behind=behind) if has_way_back else None,
            fallback=self.decision("legacy", "fallback", behind=behind) if has_way_back else None,
            rerouted={side: self.decision(side, "rerouted") for side in ("legacy", "service")},
            owner=source,
            wave=wave.wave,
            epoch=wave.epoch,
        )

    def native(self, held: bool) -> Slot:
        """For operations that exist only at the service."""
        here = self.decision("service", "native")
        write = self.decision("service", "native", hold=held)
        again = {"service": self.decision("service", "rerouted")}
        return Slot(here, write, here, None, None, again, "service")

    def keyless(self, waves: list[Wave]) -> Slot:
        """For requests that name no key: legacy while in canary, the service once every wave has arrived there."""
        slots = [self.of_wave(wave, in_canary=False) for wave in waves]
        if len(slots) == 1:
            return slots[0]
        arrived = all(slot.read.side == "service" for slot in slots)
        owners = {slot.owner for slot in slots}
        owner: Side = "service" if owners == {"service"} else "legacy"
        mixed = len(owners) > 1  # no side has what all waves wrote
        held = any(slot.write.hold for slot in slots)
        rehearsed = all(slot.write.shadow is not None for slot in slots)
        read = slots[0].read if arrived else next(slot.read for slot in slots if slot.read.side == "legacy")
        if mixed and not arrived:
            read = replace(read, behind=True)
        has_way_back = all(slot.detour is not None for slot in slots)
        behind = mixed or owner == "service"
        return Slot(
            read=read,
            write=self.decision(owner, "owner", hold=held, shadow=rehearsed),
            pinned=read if read.side == owner else self.decision(owner, "pin", behind=mixed),
            detour=self.decision("legacy", "breaker-open", behind=behind) if has_way_back else None,
            fallback=self.decision("legacy", "fallback", behind=behind) if has_way_back else None,
            rerouted=slots[0].rerouted,
            owner=owner,
        )
