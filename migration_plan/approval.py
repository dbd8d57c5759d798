"""Who may take a step forward, by the plan. The way back is open to everybody: it is the one that must not wait.

The actor is who the command says it is (BANYAN_ACTOR, else user@host): this keeps a slip from moving a domain, and the
ledger from being wrong. Keeping an enemy out is the databases' part, whose passwords a step needs.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from migration_plan.errors import NotApproved
from migration_plan.plan import Plan


def who_may(plan: Plan, domain: str) -> tuple[str, ...]:
    """Names and patterns of actors; none: everybody."""
    found: dict[str, None] = {}
    for approver in plan.domain(domain).approvers:
        role = approver.removeprefix("role:")
        found.update(dict.fromkeys([approver] if role == approver else plan.roles.get(role, ())))
    return tuple(found)


def require_approver(plan: Plan, domain: str, verb: str, actor: str) -> None:
    """Raises: NotApproved, naming who may."""
    approvers = plan.domain(domain).approvers
    allowed = who_may(plan, domain)
    if not approvers or any(fnmatchcase(actor, pattern) for pattern in allowed):
        return
    named = ", ".join(allowed) or f"nobody yet ({', '.join(approvers)} has no members)"
    raise NotApproved(f"{actor} may not {verb} {domain}; the plan's approvers are: {named}; let one of them do it")
