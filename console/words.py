"""Says in words what is happening: pure functions from readings to sentences that a stranger understands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from console.readings import PHASES, Domain, LedgerRow, Wave

#: What a station of the journey means, under its name.
STATIONS = {
    "legacy": "the monolith does it all",
    "shadow": "the service answers copies, compared",
    "canary": "some reads go to the service",
    "service": "the service owns the writes",
    "retired": "the monolith's code is gone",
}

BREAKERS = {
    "closed": "calls pass",
    "open": "calls are not tried for now",
    "half-open": "one call tries whether it is well again",
}


def standing(name: str, domain: Domain) -> str:
    """One sentence on a domain: who reads, who writes."""
    if not domain.waves:
        return f"{name}: no waves in the route table"
    if any(wave.moving for wave in domain.waves):
        return f"{name}: the writes are changing hands right now; they wait a moment, none is refused"
    if len({(wave.phase, wave.canary_percent, wave.owner) for wave in domain.waves}) == 1:
        return f"{name}: {_stand(domain.waves[0], domain)}"
    reads = percent(sum(wave.share * wave.reads_at_service for wave in domain.waves))
    writes = percent(sum(wave.share for wave in domain.waves if wave.owner == "service"))
    return f"{name}: in {len(domain.waves)} waves; the service has {reads} of the reads and {writes} of the writes"


def _stand(wave: Wave, domain: Domain) -> str:
    match wave.phase:
        case "legacy":
            return "reads and writes at the monolith"
        case "shadow":
            copies = percent(domain.shadow_percent / 100)
            return f"reads and writes at the monolith; the service answers copies of {copies} of them, to compare"
        case "canary":
            writes = "service" if wave.owner == "service" else "monolith"
            return f"reads {percent(wave.reads_at_service)} at the service, writes at the {writes}"
        case "service":
            return "reads and writes at the service; the monolith is kept in step, so there is a way back"
        case _:
            return "reads and writes at the service, for good"


def trouble(name: str, domain: Domain) -> str | None:
    """What is wrong with a domain, most serious first; None when all is well."""
    service_used = any(wave.reads_at_service or wave.owner == "service" for wave in domain.waves)
    if domain.breakers.get("legacy") == "open":
        return f"{name}: the monolith does not answer as it should; the gateway has opened its breaker"
    if domain.breakers.get("service") == "open":
        return f"{name}: the service does not answer as it should; reads fall back to the monolith"
    if domain.health.get("legacy") is False:
        return f"{name}: the monolith fails its health check"
    if domain.health.get("service") is False and service_used:
        return f"{name}: the service fails its health check"
    return None


def frozen(name: str, row: LedgerRow | None) -> str:
    """Why no step forward is taken; empty when nothing stands in the way."""
    if row is None:
        return ""
    why = row.reason or "no reason given"
    return (
        f"frozen by {row.actor} since {row.at:%-d %b %H:%M:%S} UTC: {why}. It goes back, not forward,"
        f" until `banyan unfreeze {name}`"
    )


def progress(domain: Domain) -> tuple[bool, int, float]:
    """How far a domain is from home, to compare with others; one that is changing hands comes before all."""
    ranks = [PHASES.index(wave.phase) for wave in domain.waves if wave.phase in PHASES]
    reads = sum(wave.share * wave.reads_at_service for wave in domain.waves)
    return any(wave.moving for wave in domain.waves), max(ranks, default=0), reads


def left_home(domain: Domain) -> bool:
    moving, rank, _ = progress(domain)
    return moving or rank > 0


def percent(share: float) -> str:
    """0 to 1 as people write it; what is not nothing is never shown as 0."""
    value = share * 100
    if 0 < value < 0.1:
        return "< 0.1 %"
    return f"{value:.1f} %" if 0 < value < 1 and value != round(value) else f"{value:.0f} %"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms" if value < 1000 else duration(value / 1000)


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def clock(at: datetime | None) -> str:
    return at.strftime("%H:%M:%S") if at else "–"


def count(value: int) -> str:
    return f"{value:,}"


def rate(per_s: float) -> str:
    return f"{per_s:.1f}" if 0 < per_s < 10 else f"{per_s:,.0f}"


def figures(measured: Mapping[str, Any], limit: int = 4) -> str:
    """The simple values of a ledger row, shortly: `rows 88,038 · lag 12 ms`."""
    words = []
    for name, value in measured.items():
        label = name.removesuffix("_ms").replace("_", " ")
        if isinstance(value, bool):
            words.append(f"{label} {'yes' if value else 'no'}")
        elif isinstance(value, int | float):
            number = (
                milliseconds(value)
                if name.endswith("ms")
                else f"{value:,}"
                if isinstance(value, int)
                else f"{value:,.4g}"
            )
            words.append(number if name == "ms" else f"{label} {number}")
        elif isinstance(value, str) and value:
            words.append(f"{label} {value[:60]}")
    return " · ".join(words[:limit])
