"""What the table says of shadowing, compiled when a table is taken."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import msgspec

from gateway.control.comparison import Comparison, Thresholds, both
from gateway.control.table import LEGACY, Domain, RouteTable, Wave
from gateway.shadow.rules import Rules


@dataclass(frozen=True, slots=True)
class OperationPolicy:
    """`mark` changes with the rules, and with it the counting begins anew."""

    rules: Rules
    mark: str


@dataclass(frozen=True, slots=True)
class DomainPolicy:
    """Shares in percent. `rehearsing`: legacy owns all waves, none is held, and the service knows dry runs.

    `compared`: the waves that are in a phase that compares.
    """

    reads: float
    writes: float
    noise: float
    thresholds: Thresholds
    rehearsing: bool
    operations: dict[str, OperationPolicy]
    service: str
    compared: tuple[Wave, ...]

    def asks_for(self, *, read: bool, bucket: int | None, upstreams: set[str]) -> bool:
        """Does the table want a copy of such a request, between these upstreams?"""
        share = self.reads if read else self.writes if self.rehearsing else 0
        if not share or upstreams != {LEGACY, self.service}:
            return False
        return any(bucket is None or wave.bucket_from <= bucket < wave.bucket_to for wave in self.compared)


def policies_of(table: RouteTable) -> dict[str, DomainPolicy]:
    """Only the domains that shadow anything."""
    return {
        name: _of_domain(table, domain)
        for name, domain in table.domains.items()
        if domain.shadow_percent or domain.shadow_writes
    }


def _of_domain(table: RouteTable, domain: Domain) -> DomainPolicy:
    quiet = all(wave.owner == "legacy" and not wave.hold for wave in domain.waves)
    operations = {}
    for operation in domain.operations:
        said = both(domain.compare, operation.compare)
        operations[operation.id] = OperationPolicy(Rules(said), mark_of(domain, said))
    return DomainPolicy(
        domain.shadow_percent,
        domain.shadow_writes,
        domain.shadow_noise,
        domain.thresholds,
        quiet and table.upstreams[domain.service].rehearses,
        operations,
        domain.service,
        tuple(wave for wave in domain.waves if wave.phase in ("shadow", "canary")),
    )


def mark_of(domain: Domain, said: Comparison) -> str:
    return f"{domain.shadow_round}-{zlib.crc32(msgspec.json.encode(said)):08x}"


def marks_of(domain: Domain) -> dict[str, str]:
    """By operation; what was counted under another mark is out of date."""
    return {operation.id: mark_of(domain, both(domain.compare, operation.compare)) for operation in domain.operations}
