"""`banyan bench cdc`: changes captured, mapped and applied per second, and their lag, beside who else can do it.

All drain the same backlogs in turn: inserts (1,000 rows a transaction), small transactions of inserts, updates and
deletes, wide rows whose large values mostly do not change. Then each applier follows a live load of 5,000 changes/s.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from load.bench.cdc_contestants import Direct, Native
from load.bench.cdc_lag import lag
from load.bench.cdc_rig import Behind, Contestant, Rig, drain, rig
from load.bench.report import Report, show

# Contestants that need more than PostgreSQL: module:class, raising Unavailable with the reason where they cannot be.
PEERS = {"debezium": "load.bench.cdc_debezium:Debezium", "kafka": "load.bench.cdc_kafka:Kafka"}
WORKLOADS = ("inserts", "mixed", "wide")
LAG_PER_S = 5000
OURS = ("inserts_per_s", "mixed_per_s", "lag_p99_ms")
BAR = {
    "direct_inserts_per_s": ">= 60000", "direct_mixed_per_s": ">= 40000", "kafka_inserts_per_s": ">= 15000",
    "direct_lag_p99_ms": "< 50", "kafka_lag_p99_ms": "< 250", "debezium": ">= 3", "native": ">= 0.5 (stretch)",
}  # fmt: skip


class Unavailable(Exception):
    """Raised by a peer that cannot be had here; its text is the reason."""


def run(
    rows: int,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
    peers: bool = True,
    only: Collection[str] = (),
) -> Report:
    """`rows` of the backlog of inserts; `seconds` of live load for each applier; `only` these contestants.

    Raises: ServerMissing.
    """
    figures: dict[str, float | int | None] = {}
    notes: list[str] = []
    behind: set[str] = set()  # they have still to do with a backlog before
    contestants = [one for one in _contestants(peers, notes) if not only or one.name in only]
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name, rig(Path(name)) as ground:
        for contestant in list(contestants):
            try:
                contestant.prepare(ground)
            except Unavailable as e:
                notes.append(f"{contestant.name}: {e}")
                contestants.remove(contestant)
        for workload in WORKLOADS:
            changes = ground.write(_statement(workload, rows))
            for contestant in contestants:
                if contestant.name in behind:
                    figures[f"{contestant.name}_{workload}_per_s"] = None
                    continue
                tell(f"{workload}: {contestant.name}, {changes:,} changes")
                figures[f"{contestant.name}_{workload}_per_s"] = _rate(ground, contestant, changes, notes, behind)
        for number, contestant in enumerate(contestants):
            if contestant.landing(ground) is not None:
                tell(f"lag at {LAG_PER_S:,} changes/s: {contestant.name}")
                _lag(figures, ground, contestant, seconds, number)
    return _report(figures, notes, only)


def _rate(ground: Rig, contestant: Contestant, changes: int, notes: list[str], behind: set[str]) -> int | None:
    """None for a peer that does not come to the end: the others are measured all the same."""
    try:
        return round(changes / drain(ground, contestant))
    except (Behind, TimeoutError, Unavailable) as e:
        notes.append(str(e))
        behind.add(contestant.name)
        return e.per_s or None if isinstance(e, Behind) else None


def _contestants(peers: bool, notes: list[str]) -> list[Contestant]:
    found: list[Contestant] = [Direct(), Native()]
    for name, path in PEERS.items() if peers else ():
        module, _, attribute = path.partition(":")
        try:
            found.append(getattr(importlib.import_module(module), attribute)())
        except (ImportError, Unavailable) as e:
            notes.append(f"{name}: {e}")
    return found


def _statement(workload: str, rows: int) -> str:
    match workload:
        case "inserts":
            return f"CALL bench_inserts(1000000, {rows}, 1000)"
        case "mixed":
            return f"CALL bench_mixed(100000000, {rows // 10})"
        case _:
            return f"CALL bench_wide(1, {rows // 40})"


def _lag(
    figures: dict[str, float | int | None], ground: Rig, contestant: Contestant, seconds: float, number: int
) -> None:
    found = lag(ground, contestant, LAG_PER_S, seconds, 1_000_000_000 * (number + 1))
    for name in ("p50_ms", "p99_ms"):
        figures[f"{contestant.name}_lag_{name}"] = found[name]
    figures[f"{contestant.name}_lag_at_per_s"] = found["per_s"]


def _report(figures: dict[str, float | int | None], notes: list[str], only: Collection[str] = ()) -> Report:
    """The bar is for who was asked to take part: `only` these, or all."""
    for name in (
        *(f"direct_{what}" for what in OURS),
        "kafka_inserts_per_s",
        "kafka_lag_p99_ms",
        "debezium_inserts_per_s",
    ):
        figures.setdefault(name, None)

    def ratio(other: str) -> float | None:
        ours, theirs = figures["direct_inserts_per_s"], figures.get(f"{other}_inserts_per_s")
        return round(ours / theirs, 2) if ours and theirs else None

    ratios = {other: ratio(other) for other in ("debezium", "native")}
    left_out = bool(only) and "direct" not in only
    met = [
        left_out or (figures["direct_inserts_per_s"] or 0) >= 60_000,
        left_out or (figures["direct_mixed_per_s"] or 0) >= 40_000,
        left_out or (figures["direct_lag_p99_ms"] or 1e9) < 50,
        ratios["debezium"] is None or ratios["debezium"] >= 3,
        figures["kafka_inserts_per_s"] is None or figures["kafka_inserts_per_s"] >= 15_000,
        figures["kafka_lag_p99_ms"] is None or figures["kafka_lag_p99_ms"] < 250,
    ]
    return Report("cdc", figures, ratios, BAR, all(met), notes=notes)


def show_report(report: Report) -> None:
    names = [name for name in ("direct", "kafka", "debezium", "native") if f"{name}_mixed_per_s" in report.figures]
    rows = []
    for name in names:
        found = [report.figures.get(f"{name}_{workload}_per_s") for workload in WORKLOADS]
        rates = ["" if rate is None else f"{rate:,}" for rate in found]
        lags = [report.figures.get(f"{name}_lag_{which}") for which in ("p50_ms", "p99_ms")]
        rows.append([name, *rates, *("" if value is None else f"{value:.1f}" for value in lags)])
    columns = ["", "inserts/s", "mixed/s", "wide/s", "lag p50 ms", "p99 ms"]
    show("cdc: from one PostgreSQL to another, the same backlog for each", columns, rows, report)
