"""The freeze of a domain: how it reads, and what it refuses."""

from __future__ import annotations

from migration_plan.context import Context
from migration_plan.errors import Frozen
from migration_plan.ledger import Row


def require_unfrozen(context: Context, domain: str) -> None:
    """Raises: Frozen, with who froze it and why."""
    if (known := context.ledger().frozen().get(domain)) is not None:
        raise Frozen(words(domain, known))


def words(domain: str, row: Row) -> str:
    return (
        f"{domain} is frozen {by(row)}: when that is settled, `banyan unfreeze {domain}`;"
        " until then it goes back (`banyan rollback`), not forward"
    )


def by(row: Row) -> str:
    """`by ann since 2026-11-27 22:10:04 UTC (the disk is full)`."""
    return f"by {row.entry.actor} since {row.at:%Y-%m-%d %H:%M:%S} UTC ({row.entry.reason or 'no reason given'})"
