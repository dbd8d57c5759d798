"""`preflight`: every gate of a wave's next step and of its switch, measured now. Does nothing."""

from __future__ import annotations

import msgspec

from migration_plan import journey
from migration_plan.context import Context
from migration_plan.errors import Refused
from migration_plan.journey import Stand
from migration_plan.verbs.complete import look_at_completion
from migration_plan.verbs.look import look
from migration_plan.verbs.options import Options
from migration_plan.verbs.result import Result
from migration_plan.verbs.run import Run, Verb


class Preflight(msgspec.Struct, frozen=True):
    """`steps`: dry runs of the next step, and of the one that moves the writes. `ready`: nothing stops any of them."""

    domain: str
    wave: int
    stand: str
    ready: bool
    message: str
    steps: list[Result]
    verb: str = "preflight"

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def preflight(context: Context, domain: str, wave: int | None = None) -> Preflight:
    """Raises: PlanError when not even the measuring is possible; what would refuse a step is in the result."""
    first = Run(context, "advance", domain, Options(wave=wave))
    stand = first.recorded() or journey.LEGACY
    looked = [_look(context, verb, domain, wave, stand, first) for verb in _verbs(stand, first)]
    ready = not any(result.refusal for result in looked)
    if not looked:
        message = f"{domain}: {stand}, no step is left"
    else:
        stopped = [f"{result.verb} ({len(result.refusal)})" for result in looked if result.refusal]
        message = f"{domain}: at {stand}, " + ("ready" if ready else f"not ready: {', '.join(stopped)}")
    return Preflight(domain, first.wave, str(stand), ready, message, looked)


def _verbs(stand: Stand, run: Run) -> tuple[Verb, ...]:
    """The next step, then the one that moves the writes; at the service the way back, and the end of it."""
    if stand.phase == "retired":
        return ()
    if stand == journey.SERVICE:
        return ("rollback", "complete")
    last = stand.phase == "canary" and stand.percent >= max(run.plan.canary_steps)
    return ("switch",) if last else ("advance", "switch")


def _look(context: Context, verb: Verb, domain: str, wave: int | None, stand: Stand, first: Run) -> Result:
    if verb == "complete":
        return look_at_completion(context, domain)
    found = look(Run(context, verb, domain, Options(wave=wave)))
    if verb != "switch":
        return found
    # That it is too early is no finding here: the gates are.
    try:
        journey.switch(stand, first.plan.canary_steps)
    except Refused as early:
        kept = [why for why in found.refusal if why != str(early)]
        message = f"{domain}: the switch {'would be refused now' if kept else 'has nothing in its way'}"
        return msgspec.structs.replace(found, refusal=kept, message=message)
    return found
