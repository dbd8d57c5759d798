"""Which step follows which: what `advance` and `rollback` do next, as a pure function of where a wave stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from migration_plan.errors import NameUnknown, Refused
from migration_plan.plan import Phase, Side

PHASES: tuple[str, ...] = get_args(Phase)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a wave is on its way. `percent` has a meaning in canary only."""

    phase: Phase
    percent: int = 0

    @property
    def owner(self) -> Side:
        """Who accepts writes in this phase."""
        return "service" if self.phase in ("service", "retired") else "legacy"

    def __str__(self) -> str:
        return f"canary {self.percent} %" if self.phase == "canary" else self.phase

    @classmethod
    def parse(cls, text: str) -> Stand:
        """What `str` made. Raises: ValueError."""
        phase, _, percent = text.partition(" ")
        if phase not in PHASES:
            raise ValueError(f"{text!r} is not a phase")
        return cls(cast("Phase", phase), int(percent.removesuffix("%").strip() or 0) if percent else 0)


@dataclass(frozen=True, slots=True)
class Move:
    """One step from a stand to the next; `switches` when the writes change their owner."""

    before: Stand
    after: Stand

    @property
    def switches(self) -> bool:
        return self.before.owner != self.after.owner

    @property
    def nothing(self) -> bool:
        return self.before == self.after


LEGACY, SHADOW, SERVICE, RETIRED = Stand("legacy"), Stand("shadow"), Stand("service"), Stand("retired")


def stations(steps: Sequence[int]) -> tuple[Stand, ...]:
    """The whole way of a wave, in order."""
    return (LEGACY, SHADOW, *(Stand("canary", step) for step in steps), SERVICE)


def advance(now: Stand, steps: Sequence[int], to: str | None = None) -> Move:
    """The next station forward, or the named one: a phase, or a canary percentage.

    Raises: NameUnknown for a phase that does not exist; Refused when it lies behind, or would take the writes along.
    """
    way = stations(steps)
    if to is None:
        after = next((stand for stand in way if _rank(stand) > _rank(now)), now)
    else:
        after = now if to == now.phase else _named(to, steps, last=False)
        if after == SERVICE and now != SERVICE:
            raise Refused("`advance` does not move writes: use `banyan switch`")
        if _rank(after) < _rank(now):
            raise Refused(f"{after} lies behind {now}: use `banyan rollback --to {to}`")
        if _rank(after) > _rank(SHADOW) > _rank(now):
            raise Refused(f"{after} comes after shadow: take it to shadow first (`banyan shadow`)")
    if after == SERVICE and now != SERVICE:
        raise Refused("the next step moves the writes: use `banyan switch`")
    return Move(now, after)


def switch(now: Stand, steps: Sequence[int]) -> Move:
    """Take the writes to the service. Raises: Refused unless the reads were there first."""
    if now.owner == "service":
        return Move(now, now)
    if now.phase != "canary":
        raise Refused(f"a switch follows the last canary step, and this is at {now}: advance first")
    if now.percent < max(steps):
        raise Refused(f"a switch follows canary {max(steps)} %, and this is at {now}: advance first")
    return Move(now, SERVICE)


def rollback(now: Stand, steps: Sequence[int], to: str | None = None) -> Move:
    """One phase back (service → canary at its last step, canary → shadow, shadow → legacy), or to the named one.

    Raises: NameUnknown, Refused.
    """
    if now.phase == "retired":
        raise Refused("a retired wave has no way back: the monolith's tables are not kept any more")
    if to is None:
        before = {"service": Stand("canary", max(steps)), "canary": SHADOW, "shadow": LEGACY, "legacy": LEGACY}
        return Move(now, before[now.phase])
    after = now if to == now.phase else _named(to, steps, last=True)
    if _rank(after) > _rank(now):
        raise Refused(f"{after} lies ahead of {now}: use `banyan advance` or `banyan switch`")
    return Move(now, after)


def complete(now: Stand) -> Move:
    """Retire the monolith's side. Raises: Refused unless the writes are at the service."""
    if now.owner != "service":
        raise Refused(f"a domain is completed at its service, and this is at {now}: use `banyan switch` first")
    return Move(now, RETIRED)


def require_known(to: str | None, steps: Sequence[int]) -> None:
    """Before anything is looked up, so that a typing error is told as one. Raises: NameUnknown, Refused."""
    if to is not None:
        _named(to, steps, last=True)


def _rank(stand: Stand) -> tuple[int, int]:
    return PHASES.index(stand.phase), stand.percent if stand.phase == "canary" else 0


def _named(name: str, steps: Sequence[int], *, last: bool) -> Stand:
    text = name.strip().removesuffix("%").strip()
    if text.isdigit():
        if not 1 <= int(text) <= 100:
            raise NameUnknown(f"a canary takes 1 to 100 % of the reads, not {name}")
        return Stand("canary", int(text))
    if text == "retired":
        raise Refused("a wave is retired by `banyan complete`: there is no way back from it")
    if text == "canary":
        return Stand("canary", steps[-1] if last else steps[0])
    for stand in (LEGACY, SHADOW, SERVICE):
        if stand.phase == text:
            return stand
    raise NameUnknown(f"no phase {name!r}; there are: {', '.join(PHASES[:-1])}, or a canary percentage such as 25")
