"""The ledger's tail as runs: each use of a verb, what it changed, how it ended, its steps and their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from console import words
from console.readings import Ledger, LedgerRow

TAIL = 10

Outcome = Literal["done", "failed", "under way"]


@dataclass(frozen=True, slots=True)
class RunView:
    """`steps` in order, with their times; `measured` what mattered in the end."""

    id: int
    at: str
    day: str
    iso: str
    domain: str
    verb: str
    outcome: Outcome
    change: str
    measured: str
    steps: str
    actor: str
    reason: str


def runs(ledger: Ledger | None) -> tuple[RunView, ...]:
    """Newest first."""
    groups: dict[tuple[str, str, str], list[LedgerRow]] = {}
    for row in ledger.rows if ledger else ():
        groups.setdefault((row.run_id, row.domain, row.verb), []).append(row)
    found = [run_view(rows) for rows in groups.values()]
    return tuple(sorted(found, key=lambda run: run.id, reverse=True)[:TAIL])


def latest(found: Sequence[RunView]) -> str:
    """The newest run in one line, for the top of the page."""
    if not found:
        return ""
    run = found[0]
    parts = [f"{run.verb} of {run.domain} {run.outcome}", run.change, run.measured, f"by {run.actor}"]
    return f"{run.at} UTC: {', '.join(part for part in parts if part)}"


def run_view(rows: Sequence[LedgerRow]) -> RunView:
    """Of one run's rows, oldest first."""
    first, last = rows[0], rows[-1]
    outcome = outcome_of(last)
    return RunView(
        id=last.id,
        at=words.clock(first.at),
        day=first.at.strftime("%-d %b"),
        iso=first.at.isoformat(timespec="seconds"),
        domain=last.domain,
        verb=last.verb,
        outcome=outcome,
        change=_change(last.before, last.after, outcome),
        measured=words.figures(_measured(rows)),
        steps=_steps(rows),
        actor=last.actor,
        reason=last.reason or "",
    )


def outcome_of(last: LedgerRow) -> Outcome:
    """By the run's last row: `step.begin` is still at work, an abort or `step.failed` came to nothing."""
    step, _, at = last.step.rpartition(".")
    if at == "failed" or step == "abort":
        return "failed"
    return "under way" if at in ("begin", "arrived") else "done"


def _change(before: str | None, after: str | None, outcome: Outcome) -> str:
    if before and after and before != after:
        return f"{before} → {after}" if outcome != "failed" else f"stays at {before} (wanted {after})"
    return after or before or ""


def _measured(rows: Sequence[LedgerRow]) -> dict[str, Any]:
    """The newest value of each figure that is a run's and not a step's."""
    found: dict[str, Any] = {}
    for row in rows:
        gates = row.measured.get("gates")
        if isinstance(gates, dict | list) and gates:
            found["gates_passed"] = len(gates)
        for name in ("pause_ms", "attempts", "rows", "drift", "unsettled"):
            if name in row.measured:
                found[name] = row.measured[name]
    if found.get("attempts") == 1:
        del found["attempts"]
    if found.get("unsettled") == 0:
        del found["unsettled"]
    return found


def _steps(rows: Sequence[LedgerRow]) -> str:
    """`hold 3 ms · fence 2.8 ms`; a run of one step needs no list."""
    found = []
    for row in rows:
        step, _, at = row.step.rpartition(".")
        name = step.replace("_", " ")
        if at == "done" and "ms" in row.measured:
            found.append(f"{name} {words.milliseconds(float(row.measured['ms']))}")
        elif at == "failed":
            found.append(f"{name} failed")
    if len(rows) > 1 and outcome_of(rows[-1]) == "under way":
        found.append(f"{rows[-1].step.rpartition('.')[0].replace('_', ' ')} …")
    return " · ".join(found)
