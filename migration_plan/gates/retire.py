"""What must hold before a domain leaves the monolith for good: pure."""

from __future__ import annotations

from collections.abc import Sequence

from migration_plan.gates.judge import Finding
from migration_plan.graph import Edge

#: Readers that a refusal names; `banyan plan graph` has all.
NAMED = 4


def served(domain: str, at_service_s: float | None, wanted_s: int) -> Finding:
    """`at_service_s`: since when the youngest of its waves is at the service."""
    if at_service_s is None:
        return Finding("served", "fail", "not all of it is at its service", f"`banyan switch {domain}` first")
    said = f"{_days(at_service_s)} at its service (at least {_days(wanted_s)})"
    ok = at_service_s >= wanted_s
    return Finding("served", "pass" if ok else "fail", said, "wait: until then `banyan rollback` is the way back")


def readers(domain: str, holding: Sequence[Edge], *, code_read: bool, accepted: bool) -> Finding:
    """`accepted`: a person wants the tables to stay and to be fed, for those who read them."""
    keep = "or say --accept-readers: then its tables stay, and the reverse stream goes on feeding them"
    if not holding:
        if code_read or accepted:
            return Finding("readers", "pass", "nobody at the monolith touches its tables", "")
        said = "nothing in the schema touches its tables, but the monolith's code was not read"
        return Finding("readers", "inconclusive", said, f"say where it is with --source, {keep}")
    told = [f"{edge.source} ({edge.kind} {edge.table}: {edge.evidence[0]})" for edge in holding[:NAMED]]
    more = f", and {len(holding) - NAMED} more" if len(holding) > NAMED else ""
    if not accepted:
        help_ = f"see `banyan plan graph`; move the readers to the service's API, {keep}"
        return Finding("readers", "fail", f"the monolith still needs it: {'; '.join(told)}{more}", help_)
    writing = [edge.source for edge in holding if edge.writes and edge.target == domain]
    if writing:
        said = f"the monolith still writes it: {', '.join(dict.fromkeys(writing))}, and nothing would carry that"
        return Finding("readers", "fail", said, "the guard refuses such writes already: take them out of the monolith")
    return Finding("readers", "pass", f"they stay fed: {'; '.join(told)}{more}", "")


def _days(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds:.0f} s"
    return f"{seconds / 86_400:.1f} days" if seconds >= 86_400 else f"{seconds / 3600:.1f} h"
