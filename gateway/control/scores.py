"""What the comparisons of a domain say: its regressions for the gate, every field for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.control.compared import COUNTS, Compared
from gateway.control.figures import Totals
from gateway.control.table import Domain
from gateway.control.verdict import judge
from gateway.shadow.policy import marks_of

MOST_TOLD = 20  # regressions in the status; `GET /v1/shadow/{domain}` has all
_ORDER = ("regression", "rare", "noise")


def of_shadow(name: str, domain: Domain, totals: Totals) -> dict[str, Any]:
    """A part of `GET /v1/status`."""
    found = scores(name, domain, totals)
    regressions = [field for field in found.pop("fields") if field["verdict"] == "regression"]
    del found["operations"], found["thresholds"]
    return {**found, "regressions": regressions[:MOST_TOLD], "regressed": len(regressions)}


def scores(name: str, domain: Domain, totals: Totals) -> dict[str, Any]:
    """Counts by domain, operation and field, with a verdict for each field, the worst first."""
    known = dict(_counted(name, domain, totals))
    fields = [field for operation, compared in known.items() for field in _of_fields(operation, compared, domain)]
    fields.sort(key=lambda field: (_ORDER.index(field["verdict"]), -field["raw"], field["operation"], field["field"]))
    events = ("rehearsed", "unrehearsed", "dropped")
    return {
        **{count: sum(getattr(compared, count) for compared in known.values()) for count in COUNTS},
        **{event: totals.event(name, f"shadow_{event}") for event in events},
        "refusing": name in totals.refusing,
        "thresholds": {"relative": domain.thresholds.relative, "absolute": domain.thresholds.absolute},
        "operations": [
            {"operation": operation, **{count: getattr(compared, count) for count in COUNTS}}
            for operation, compared in sorted(known.items())
        ],
        "fields": fields,
    }


def _counted(name: str, domain: Domain, totals: Totals) -> Iterator[tuple[str, Compared]]:
    """By the rules of now only."""
    marks = marks_of(domain)
    for (of, operation, mark), compared in totals.shadow.items():
        if of == name and marks.get(operation) == mark:
            yield operation, compared


def _of_fields(operation: str, compared: Compared, domain: Domain) -> Iterator[dict[str, Any]]:
    for path, (kind, raw, noise) in compared.fields.items():
        yield {
            "operation": operation,
            "field": path,
            "kind": kind,
            "raw": raw,
            "compared": compared.compared,
            "noise": noise,
            "twice": compared.twice,
            "verdict": judge(raw, compared.compared, noise, compared.twice, domain.thresholds),
        }
