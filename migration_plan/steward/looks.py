"""One domain as the steward sees it: a connection of its own, and an answer within its time or none."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from typing import Any

from migration_plan.context import Context
from migration_plan.gates.analysis import Measurement, Watched
from migration_plan.gates.judge import Finding
from migration_plan.gates.measure import gateway_part, last_verification, stream_figures
from migration_plan.gates.measured import GatewayFigures, StreamFigures, Verified
from migration_plan.gates.traffic import Recent
from migration_plan.plan import Domain

#: For the databases; one that hangs (a stopped server keeps its connections) must not keep the rest waiting.
PATIENCE_S = 1.0

OF_STREAM = ("forward-stream", "reverse-stream", "lag", "slot", "parked", "verify")


@dataclass(frozen=True, slots=True)
class Seen:
    streams: Mapping[str, StreamFigures]
    verified: Verified | None


class DomainLook:
    """Asks the databases in a thread. While an answer is late no other is asked for."""

    def __init__(self, context: Context, domain: str, pool: ThreadPoolExecutor) -> None:
        self._context, self._domain, self._pool = context, domain, pool
        self._asked: Future[Seen] | None = None
        self.problem: str | None = None

    def see(self, directions: frozenset[str]) -> Seen | None:
        """None when it could not be had in time; `problem` says why then."""
        if self._asked is None:
            self._asked = self._pool.submit(self._look, directions)
        try:
            seen = self._asked.result(PATIENCE_S)
        except TooLate:
            self.problem = f"the databases of {self._domain} do not answer in {PATIENCE_S:.0f} s"
            return None
        except Exception as error:  # of whatever kind: the next look asks anew
            self._asked, self.problem = None, str(error) or type(error).__name__
            return None
        self._asked, self.problem = None, None
        return seen

    def _look(self, directions: frozenset[str]) -> Seen:
        found = {way: stream_figures(self._context, self._domain, way) for way in sorted(directions)}
        streams = {way: figures for way, figures in found.items() if figures is not None}
        return Seen(streams, last_verification(self._context, self._domain, streams))


def watched(
    plan: Domain, name: str, said: Mapping[str, Any] | None, recent: Recent, now: float, seen: Seen | None
) -> Watched:
    reads = [operation.id for operation in plan.operations if operation.kind == "read"]
    gateway: GatewayFigures | None = gateway_part(dict(said), name) if said is not None else None
    window, latest = (recent.window(now), recent.latest(now)) if said is not None else (None, None)
    streams, verified = (seen.streams, seen.verified) if seen is not None else ({}, None)
    return Watched(name, streams, gateway, window, latest, verified, reads)


def measurements(
    findings: list[Finding], *, gateway: bool, databases: bool, forced: frozenset[str]
) -> dict[str, Measurement]:
    """Each gate's verdict; "error" where who knows was away. Gates that somebody forced are left out."""
    return {
        finding.gate: _measurement(finding, databases if finding.gate in OF_STREAM else gateway)
        for finding in findings
        if finding.gate not in forced
    }


def _measurement(finding: Finding, answered: bool) -> Measurement:
    return finding.verdict if answered else "error"
