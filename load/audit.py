"""Compare every write that clients saw accepted with both databases: nothing lost, nothing doubled."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from load.databases import Contents, legacy_contents, service_contents
from load.fact_databases import Stored, stored
from load.facts import Facts
from load.memory import Accepted, Quote

Side = Literal["legacy", "service"]
Kind = Literal["lost", "doubled"]
_MAX_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One accepted write that a database does not hold exactly once as it was accepted."""

    side: Side
    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.side}: {self.kind}: {self.what}"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """`values`: how many things of each kind were looked up, each on both sides, at their last accepted value."""

    values: dict[str, int]
    lost_legacy: int = 0
    lost_service: int = 0
    doubled: int = 0
    samples: tuple[Finding, ...] = ()

    @property
    def checked(self) -> int:
        return sum(self.values.values())

    @property
    def lost(self) -> int:
        return self.lost_legacy + self.lost_service

    @property
    def clean(self) -> bool:
        return self.lost == self.doubled == 0


def audit(accepted: Accepted | Facts, legacy_dsn: str, service_dsn: str, *, wait_s: float = 10.0) -> AuditReport:
    """Look everything up on both sides. The side that is not the owner may lag: for `wait_s` a finding is asked again.

    Raises: psycopg.Error when a database cannot be read.
    """
    deadline = time.monotonic() + wait_s
    while True:
        report = _look(accepted, legacy_dsn, service_dsn)
        if report.clean or time.monotonic() >= deadline:
            return report
        time.sleep(0.2)


def _look(accepted: Accepted | Facts, legacy_dsn: str, service_dsn: str) -> AuditReport:
    dsns: dict[Side, str] = {"legacy": legacy_dsn, "service": service_dsn}
    if isinstance(accepted, Facts):
        return compare_facts(accepted, {side: stored(dsn, accepted, side) for side, dsn in dsns.items()})
    contents = {"legacy": legacy_contents, "service": service_contents}
    return compare(accepted, {side: contents[side](dsn, accepted) for side, dsn in dsns.items()})


def compare(accepted: Accepted, sides: dict[Side, Contents]) -> AuditReport:
    """What is wrong with `sides`, given what clients of pricing were told."""
    values = {
        "quotes": len(accepted.quotes),
        "price_hours": sum(history.accepted is not None for history in accepted.prices.values()),
        "tariffs": sum(history.accepted is not None for history in accepted.rates.values()),
    }
    return _report(values, [found for side, contents in sides.items() for found in _findings(side, contents, accepted)])


def compare_facts(facts: Facts, sides: dict[Side, Stored]) -> AuditReport:
    """What is wrong with `sides`, given what clients of devices or notifications were told."""
    values = Counter(fact.kind for fact, history in facts.values.items() if history.accepted is not None)
    return _report(values, [found for side, rows in sides.items() for found in _of_facts(side, rows, facts)])


def _report(values: Mapping[str, int], findings: Sequence[Finding]) -> AuditReport:
    kinds = Counter((finding.kind, finding.side) for finding in findings)
    return AuditReport(
        values=dict(values),
        lost_legacy=kinds["lost", "legacy"],
        lost_service=kinds["lost", "service"],
        doubled=kinds["doubled", "legacy"] + kinds["doubled", "service"],
        samples=tuple(findings[:_MAX_SAMPLES]),
    )


def _of_facts(side: Side, rows: Stored, facts: Facts) -> Iterator[Finding]:
    for fact, history in facts.values.items():
        found = rows.get(fact, [])
        name = " ".join(map(str, fact)).strip()
        if len(found) > 1:
            yield Finding(side, "doubled", f"{name} is stored {len(found)} times")
        if not (found or history.accepted is None) or (found and found[0] not in history.allowed):
            yield Finding(side, "lost", f"{name}: accepted {history.accepted}, stored {found or 'nothing'}")
    for fact in rows.keys() - facts.values.keys():
        yield Finding(side, "doubled", f"{' '.join(map(str, fact)).strip()} was never accepted, but is stored")


def _findings(side: Side, contents: Contents, accepted: Accepted) -> Iterator[Finding]:
    yield from _quotes(side, contents, accepted)
    for key, history in accepted.prices.items():
        found = contents.prices.get(key, [])
        name = f"price {key.area} {key.hour.ts}{key.hour.flag}"
        if len(found) > 1:
            yield Finding(side, "doubled", f"{name} is stored {len(found)} times")
        if not (found or history.accepted is None) or (found and found[0] not in history.allowed):
            yield Finding(side, "lost", f"{name}: accepted {history.accepted}, stored {found or 'nothing'}")
    for code, rates in accepted.rates.items():
        stored = contents.rates.get(code, [])
        if len(stored) > 1:
            yield Finding(side, "doubled", f"tariff {code} is stored {len(stored)} times")
        if not (stored or rates.accepted is None) or (stored and stored[0] not in rates.allowed):
            yield Finding(side, "lost", f"rates of {code}: accepted {rates.accepted}, stored {stored or 'nothing'}")


def _quotes(side: Side, contents: Contents, accepted: Accepted) -> Iterator[Finding]:
    stored: dict[str | None, list[Quote]] = defaultdict(list)
    for row in contents.quotes:
        if not accepted.of_another_run(row.client_ref):
            stored[row.client_ref].append(row)
    for ref, quote in accepted.quotes.items():
        rows = stored.pop(ref, [])
        if not rows:
            yield Finding(side, "lost", f"quote {ref} (id {quote.id}) is not stored")
        elif quote not in rows:
            yield Finding(side, "lost", f"quote {ref}: accepted {quote}, stored {rows[0]}")
        if len(rows) > 1:
            yield Finding(side, "doubled", f"quote {ref} is stored {len(rows)} times")
    for other, rows in stored.items():
        if other not in accepted.uncertain_quotes:
            yield Finding(side, "doubled", f"quote {other} (id {rows[0].id}) was never accepted, but is stored")
        elif len(rows) > 1:
            yield Finding(side, "doubled", f"quote {other} is stored {len(rows)} times")
