"""Compares a domain and gives what differs the owner's rows again, at the side that does not own them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import msgspec

from cdc.errors import CdcError, Transient
from cdc.mapping import MappingError
from cdc.verify import Difference, Report, state
from cdc.verify.repair import repair
from migration_plan.context import Context
from migration_plan.errors import PlanError, Unreachable
from migration_plan.gates.measure import known_streams
from migration_plan.ledger import Entry
from migration_plan.verification import SAMPLES, carriers, ends, opened_state


class Repair(msgspec.Struct, frozen=True):
    """`alike`: keys that came right by themselves; `left`: those that were not repaired, with the reason, in words."""

    domain: str
    repaired: int
    alike: int
    left: list[str]

    @property
    def whole(self) -> bool:
        return not self.left


def differing(report: Report) -> list[Difference]:
    """Every key that is known to differ by this comparison."""
    return [found for table in report.tables for found in table.drifted]


def repair_domain(
    context: Context,
    domain: str,
    drifted: Sequence[Difference],
    *,
    reason: str | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Repair:
    """Repair these keys and record it. Raises: Unreachable, PlanError."""
    legacy, service = ends(context, domain)
    try:
        known = carriers(context, domain, known_streams(context, domain))
        found = repair(legacy, service, context.mapping(domain), known, drifted, progress=progress)
        with opened_state(context, domain) as kept:
            if kept is not None:
                state.repaired(kept, domain, found.repaired)
    except Transient as error:
        raise Unreachable(f"{domain} cannot be repaired: {error}") from error
    except (CdcError, MappingError) as error:
        raise PlanError(f"{domain} cannot be repaired: {error}") from error
    result = Repair(domain, found.repaired, found.alike, [f"{key}; {why}" for key, why in found.left])
    entry = Entry(
        domain=domain,
        verb="verify",
        step="repaired",
        run_id=uuid.uuid4().hex[:12],
        actor=context.actor,
        measured={
            "repaired": result.repaired,
            "alike": result.alike,
            "left": len(result.left),
            "samples": [str(key) for key in drifted[:SAMPLES]],
        },
        reason=reason,
    )
    context.ledger().append([entry])
    return result
