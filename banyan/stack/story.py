"""What the demonstration says to somebody who has never seen a migration: what happens in each phase, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Said before the first step. `{clients}` and `{rate}` are filled in.
INTRODUCTION = (
    "So far a monolith does everything. Its domain “pricing” (tariffs, market prices, quotes) now moves to a service "
    "with a database of its own, and back, each step by a command that an operator would type.",
    "Meanwhile {clients} independent clients send {rate} requests a second through the gateway, a third of them "
    "writes. Each remembers every write that was accepted (answered with success).",
    "At risk at every step: requests that fail, accepted writes that get lost or are stored twice, clients that do not "
    "see what they wrote, and bills that change. None of it may happen once; the end says whether it did.",
)

#: Station → what is so there.
STATIONS = {
    "legacy": "the monolith answers everything; each row it writes is copied to the service's database",
    "shadow": "clients still get the monolith's answers; the service answers copies of their reads, to compare",
    "canary 10 %": "the clients whose id falls into 10 % of the hash range (of few clients: roughly) read from the "
    "service; all writes stay at the monolith",
    "canary 50 %": "now half of the range; but who has just written reads at the monolith until the write is copied",
    "service": "reads and writes are at the service; what it writes is copied back, so that there is a way back",
    "service again": "the stack has started the service again, and it answers reads and writes as before",
    "canary 50 % again": "a rollback goes one step back, so the domain is where it was before the switch: writes at "
    "the monolith, half of the clients read from the service",
}

#: Command or event → why it is done now.
REASONS = {
    "bill": "the monolith bills from tariffs and prices: the sum must stay the same wherever these live",
    "advance": "one step forward; refused unless copies, comparisons and health are as the plan asks",
    "switch": "the writes change hands; before it the databases are compared row by row, then writes wait for a moment",
    "kill": "the worst case, on purpose: the service's processes die at once, while they own the writes",
    "rollback": "the way back: what the service wrote is in the monolith before that accepts the next write",
    "unfreeze": "a person has looked into what the steward saw, and lets the domain go forward again",
    "verify": "every row of both databases is compared, while they live",
}


def shares(reads: tuple[int, int], writes: tuple[int, int]) -> str:
    """Who answered, from (at the service, all): reads and writes apart, since they move at different steps."""
    kinds = (("reads", reads), ("writes", writes))
    return " · ".join(f"{kind} {part / max(1, whole):.0%} at the service" for kind, (part, whole) in kinds)


def audit_lines(accepted: Mapping[str, int], looked_up: Mapping[str, int], lost: int, doubled: int) -> list[str]:
    """How the counts of writes belong together, so that a reader can add them up."""
    return [
        f"{_added(accepted)} = {sum(accepted.values()):,} accepted writes (requests)",
        f"they left {_added(looked_up)} = {sum(looked_up.values()):,} values (a batch has up to 6 hours; of several "
        "writes of the same hour or tariff the last one counts)",
        f"each value looked up in both databases: {lost} lost, {doubled} doubled",
    ]


def well(report: Mapping[str, Any]) -> str:
    """The verdict when nothing is wrong."""
    pauses = f"{report['switch_pause_ms']:.0f} ms for the switch and {report['rollback_pause_ms']:.0f} ms"
    return (
        f"none of {report['requests']:,} requests failed; every accepted write is in both databases exactly once; "
        f"every client saw its own writes; the bills are equal to the cent. Writes waited {pauses} for the rollback."
    )


def _added(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())
