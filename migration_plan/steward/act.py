"""Carries a decision out, by the verbs and under the lease that a person uses; whoever is at work goes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from migration_plan import verbs
from migration_plan.context import Context
from migration_plan.errors import Aborted, Busy, PlanError, Refused
from migration_plan.gates import Finding
from migration_plan.journey import Stand
from migration_plan.ledger import Entry
from migration_plan.steward.decide import Decision

#: Where a rollback from each phase leads. From `service` the verb's own next station: its last canary step.
BACK = {"canary": "shadow", "shadow": "legacy"}

#: Characters of a reason, which travels in a header of the admin API too.
LONGEST = 800


@dataclass(frozen=True, slots=True)
class Acted:
    """What came of it. `done`: something was changed, or need not be; else `text` says why, and it is tried again.
    `frozen`: that is
    news; `back`: where the wave stands after a rollback."""

    done: bool
    text: str
    frozen: bool = False
    back: str | None = None
    run_id: str | None = None


def act(
    context: Context, domain: str, wave: int, stand: Stand, decision: Decision, findings: Sequence[Finding]
) -> Acted:
    """The freeze first: if this process dies between the two, nothing goes forward and the next one goes back.

    A rollback of writes runs its own preflight: it refuses where the other side lacks what the service accepted, and
    the domain stays frozen then, for a person. Never raises a PlanError.
    """
    why = reason(decision, findings)
    measured = {"gates": {finding.gate: finding.measured for finding in findings}, "stage": str(stand)}
    try:
        if decision.action == "alert":
            return _alert(context, domain, wave, stand, why, measured)
        with context.ledger().lease(domain):
            state = context.ledger().states().get((domain, wave))
            if state is None or state.stand != stand:
                return Acted(False, f"{domain} is not at {stand} any more: nothing is done")
            frozen = verbs.freeze(context, domain, why, measured=measured)
    except Busy as busy:
        return Acted(False, f"{busy}: whoever is at work goes first")
    except PlanError as error:
        return Acted(False, f"{domain} is left as it is: {error}")
    if decision.action == "freeze":
        return Acted(True, f"{domain} frozen at {stand}", frozen=True, run_id=frozen.run_id)
    return _back(context, domain, wave, stand, why, newly=frozen.changed)


def _back(context: Context, domain: str, wave: int, stand: Stand, why: str, *, newly: bool) -> Acted:
    to = BACK.get(stand.phase)
    try:
        if stand.owner == "service":
            looked = verbs.rollback(context, domain, wave=wave, to=to, dry_run=True)
            if looked.refusal:
                return Acted(
                    True, f"{domain} frozen at {stand}; it is not safe to go back: {_first(looked.refusal)}", True
                )
        done = verbs.rollback(context, domain, wave=wave, to=to, reason=why, expected=stand)
    except (Refused, Aborted) as error:
        return Acted(True, f"{domain} frozen at {stand}; it did not go back: {error}", True)
    except PlanError as error:
        return Acted(False, f"{domain} frozen at {stand}, but could not go back yet: {error}", newly)
    return Acted(True, f"{domain} taken back from {stand} to {done.after}, and frozen", True, done.after, done.run_id)


def _alert(context: Context, domain: str, wave: int, stand: Stand, why: str, measured: Mapping[str, object]) -> Acted:
    entry = Entry(
        domain=domain, wave=wave, verb="steward", step="alert", run_id="steward", actor=context.actor,
        before=str(stand), measured=dict(measured), reason=why,
    )  # fmt: skip
    context.ledger().append([entry])
    return Acted(True, f"{domain} is left at {stand}")


def reason(decision: Decision, findings: Sequence[Finding]) -> str:
    """`errors failed: 43 of 80 requests failed at the service …; …`."""
    by_name = {finding.gate: finding for finding in findings}
    said = [
        f"{name} {phase}: {by_name[name].measured}" if name in by_name else f"{name} {phase}"
        for name, phase in decision.gates.items()
    ]
    text = "; ".join(said)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"


def _first(reasons: Sequence[str]) -> str:
    return reasons[0] + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")
