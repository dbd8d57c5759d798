"""`plan diff`: what of the plan the running gateway does not route by yet, and what the ledger knows otherwise."""

from __future__ import annotations

import msgspec

from gateway.errors import AdminError, TableRefused
from migration_plan.context import Context
from migration_plan.differences import Difference, differences
from migration_plan.errors import NotPrepared, Refused, Unreachable
from migration_plan.verbs.publish import planned_table


class Compared(msgspec.Struct, frozen=True):
    """`notes`: what no publishing would make good, each with what helps."""

    version: int
    found: list[Difference]
    notes: list[str]


def against_running(context: Context) -> Compared:
    """Raises: Unreachable, NotConfigured; Refused when the gateway would not take what the plan says."""
    try:
        now, wanted, unplanned = planned_table(context)
    except TableRefused as error:
        raise Refused(f"the gateway would not take what the plan says: {'; '.join(error.reasons)}") from error
    except AdminError as error:
        raise Unreachable(str(error)) from error
    found = list(differences(msgspec.to_builtins(now), msgspec.to_builtins(wanted)))
    notes = [f"{part} is in the gateway and not in the plan: it stays as it is" for part in unplanned]
    return Compared(now.version, found, notes + _by_ledger(context))


def _by_ledger(context: Context) -> list[str]:
    try:
        states = context.ledger().states()
    except NotPrepared as error:
        return [str(error)]
    notes = []
    for name, domain in context.plan.domains.items():
        known = {wave for (of, wave) in states if of == name}
        if missing := sorted(set(range(len(domain.waves))) - known):
            which = "" if len(missing) == len(domain.waves) else f"wave {', '.join(map(str, missing))} of "
            notes.append(f"{which}{name} is not prepared: run `banyan prepare {name}`")
        if surplus := sorted(known - set(range(len(domain.waves)))):
            which = ", ".join(map(str, surplus))
            notes.append(f"the ledger knows wave {which} of {name}, which the plan does not have")
    gone = sorted({of for of, _ in states} - set(context.plan.domains))
    return notes + [f"the ledger knows the domain {name}, which the plan does not have" for name in gone]
