"""The operator's verbs as the page offers them. They are `migration_plan.verbs`, as the command calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migration_plan import verbs
from migration_plan.context import SIDES, Context
from migration_plan.environment import need_dsn
from migration_plan.errors import PlanError
from migration_plan.journey import Stand
from migration_plan.switch.steps import STEPS


@dataclass(frozen=True, slots=True)
class Offer:
    """A verb on the page. `grave`: the domain's name is to be typed first."""

    verb: str
    says: str
    grave: bool = False
    changes: bool = True


OFFERS = {
    offer.verb: offer
    for offer in (
        Offer("preflight", "measure every gate of the next step; changes nothing", changes=False),
        Offer("shadow", "the service answers copies of the reads, to compare"),
        Offer("canary", "the service answers so many percent of the reads"),
        Offer("switch", "move the writes to the service", grave=True),
        Offer("rollback", "take one step back", grave=True),
        Offer("freeze", "refuse every step forward"),
        Offer("unfreeze", "let it go forward again"),
        Offer("abort", "end a half-done step backwards", grave=True),
        Offer("complete", "retire it at the monolith: there is no way back", grave=True),
    )
}


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants. `stand`: where the wave was when they looked; a step from elsewhere is refused."""

    verb: str
    domain: str
    wave: int | None = None
    percent: int | None = None
    reason: str = ""
    stand: str = ""

    @property
    def offer(self) -> Offer:
        return OFFERS[self.verb]

    @property
    def command(self) -> str:
        """The same on the command line."""
        words = ["banyan", self.verb, self.domain, *([str(self.percent)] if self.percent is not None else [])]
        return " ".join(words + (["--wave", str(self.wave)] if self.wave is not None else []))


@dataclass(frozen=True, slots=True)
class GateLine:
    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One step that was looked at: what stops it, its numbered steps, its gates."""

    message: str
    refusal: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    gates: tuple[GateLine, ...] = ()
    figures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """A dry run. `may`: it would be done; `stand`: from where."""

    parts: tuple[Part, ...]
    may: bool
    stand: str = ""


def look(context: Context, ask: Ask) -> Look:
    """What would be done, and what would stop it now. What does not even let itself be looked at is in it, too."""
    try:
        if ask.verb == "preflight":
            found = verbs.preflight(context, ask.domain, ask.wave)
            return Look((Part(found.message), *(_part(one) for one in found.steps)), may=False, stand=found.stand)
        result = _call(context, ask, dry_run=True)
    except PlanError as error:
        return Look((Part(f"{ask.domain}: {ask.verb} would be refused now", (str(error),)),), may=False)
    if isinstance(result, verbs.Marked):
        return Look((Part(result.message, steps=tuple(result.steps)),), may=bool(result.steps))
    may = not result.refusal and (result.before != result.after or bool(result.steps))
    return Look((_part(result),), may, result.before)


def act(context: Context, ask: Ask, tell: Callable[[str], None]) -> verbs.Result | verbs.Marked:
    """Do it; `tell` hears each step as it begins, in the thread that does it. Raises: PlanError."""
    numbers = {step.name: step.number for step in STEPS}

    def step(name: str, when: str) -> None:
        if when == "before":
            tell(f"{numbers[name]} {name.replace('_', ' ')}")

    def compared(table: str, done: int, total: int) -> None:
        tell(f"comparing {table}: {done:,} of {max(done, total):,} rows")

    return _call(context, ask, dry_run=False, hook=step, progress=compared, say=tell)


def _call(
    context: Context,
    ask: Ask,
    *,
    dry_run: bool,
    hook: Callable[[str, str], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> verbs.Result | verbs.Marked:
    reason = ask.reason or None
    more: dict[str, Any] = {"reason": reason, "dry_run": dry_run}
    if ask.verb in ("freeze", "unfreeze"):
        return (verbs.freeze if ask.verb == "freeze" else verbs.unfreeze)(context, ask.domain, **more)
    if progress is not None:
        more["progress"] = progress
    if ask.verb == "complete":
        for side in SIDES:  # it would miss them when it has begun
            need_dsn(context.env, context.plan.database_of(ask.domain, side).owner)
        return verbs.complete(context, ask.domain, **more, **({"say": say} if say is not None else {}))
    more["wave"] = ask.wave
    if ask.verb == "abort":
        return verbs.abort(context, ask.domain, **more)
    if hook is not None:
        more["hook"] = hook
    if ask.stand and not dry_run:
        more["expected"] = Stand.parse(ask.stand)
    match ask.verb:
        case "shadow":
            return verbs.shadow(context, ask.domain, **more)
        case "canary":
            return verbs.canary(context, ask.domain, ask.percent or 0, **more)
        case "switch":
            return verbs.switch(context, ask.domain, **more)
        case _:
            return verbs.rollback(context, ask.domain, **more)


def _part(result: verbs.Result) -> Part:
    stopped = tuple(result.refusal)
    gates = tuple(
        GateLine(gate.verdict, f"{gate.gate}: {gate.measured}" + ("" if gate.verdict == "pass" else f"; {gate.help}"))
        for gate in result.gates
        if not any(reason.startswith(f"{gate.gate}: ") for reason in stopped)
    )
    figures = []
    if result.predicted_pause_ms is not None:
        low, high = result.predicted_interval_ms or (result.predicted_pause_ms, result.predicted_pause_ms)
        figures.append(
            f"predicted pause of writes: {result.predicted_pause_ms:.0f} ms (9 in 10: {low:.0f} to {high:.0f})"
        )
        if result.before != "service":
            figures.append("a rollback would lose: " + ("; ".join(result.rollback_loses) or "nothing"))
    return Part(result.message, stopped, tuple(result.steps), gates, tuple(figures))
