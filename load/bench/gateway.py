"""`banyan bench gateway`: one worker on one core against Envoy and nginx, same duties, same backend, same minutes.

The contestants take turns in short rounds, and medians are compared: what disturbs the machine for a while disturbs all
of them. Load and backend share the other core.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from banyan.errors import BanyanError
from banyan.servers.ports import free_port
from load.bench import contestants, wrk
from load.bench.contestants import Running
from load.bench.report import Report, show

CONNECTIONS = 32
ROUND_SECONDS = 1  # short, so that a disturbance hits all contestants alike
BAR = {"envoy_rps": ">= 1.0", "envoy_p99": "<= 1.0"}
MAKERS = {"banyan": contestants.banyan, "envoy": contestants.envoy, "nginx": contestants.nginx}


@dataclass(slots=True)
class Rounds:
    """What one contestant did in its rounds."""

    measured: list[wrk.Measured] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # of CPU time per request
    resident_mb: float = 0.0

    def figures(self) -> dict[str, float]:
        return {
            "rps": round(statistics.median(m.per_second for m in self.measured), 1),
            "p50_ms": round(statistics.median(m.p50_ms for m in self.measured), 3),
            "p99_ms": round(statistics.median(m.p99_ms for m in self.measured), 3),
            "cpu_us_per_request": round(statistics.median(self.cpu_us), 2),
            "resident_mb": round(self.resident_mb, 1),
            "errors": sum(m.errors for m in self.measured),
        }


def pins() -> tuple[list[str], list[str]]:
    """(contestant's, load's) command prefixes that keep them on cores of their own."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    taskset = shutil.which("taskset")
    if taskset is None or len(cores) < 2:
        return [], []
    return [taskset, "-c", str(cores[0])], [taskset, "-c", str(cores[1])]


def run(seconds: float, tell: Callable[[str], None] = lambda _: None) -> Report:
    """`seconds` of load for each contestant. Raises: banyan.errors.ServerMissing without wrk."""
    wrk.binary()
    own, others = pins()
    notes = [] if own else ["fewer than two cores, or no taskset: nothing is pinned"]
    results: dict[str, Rounds] = {}
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        script = wrk.write_script(folder)
        backend_port = free_port()
        stack.enter_context(contestants.backend(folder, backend_port, others))
        running: list[Running] = []
        for contestant, make in MAKERS.items():
            try:
                running.append(stack.enter_context(make(folder, free_port(), backend_port, own)))
            except BanyanError as error:
                if contestant == "banyan":
                    raise
                notes.append(f"{contestant}: {error}")
        results = {one.name: Rounds() for one in running}
        for one in running:
            wrk.run(one.url, script, 1, connections=CONNECTIONS, pin=others)  # warm up
        rounds = max(1, round(seconds / ROUND_SECONDS))
        for turn in range(rounds):
            for one in running if turn % 2 == 0 else reversed(running):
                tell(f"round {turn + 1} of {rounds}: {one.name}")
                _round(one, results[one.name], script, others)
    return _report(results, notes)


def _round(one: Running, into: Rounds, script: Path, pin: list[str]) -> None:
    before = one.cpu_seconds()
    measured = wrk.run(one.url, script, ROUND_SECONDS, connections=CONNECTIONS, pin=pin)
    into.measured.append(measured)
    into.cpu_us.append((one.cpu_seconds() - before) * 1e6 / max(1, measured.requests))
    into.resident_mb = one.resident_mb()


def _report(results: dict[str, Rounds], notes: list[str]) -> Report:
    figures: dict[str, Any] = dict.fromkeys(MAKERS)
    figures |= {name: rounds.figures() for name, rounds in results.items()}
    ratios = {
        "envoy_rps": _ratio(figures, "envoy", "rps"),
        "envoy_p99": _ratio(figures, "envoy", "p99_ms"),
        "nginx_rps": _ratio(figures, "nginx", "rps"),
        "envoy_cpu": _ratio(figures, "envoy", "cpu_us_per_request"),
    }
    met = (ratios["envoy_rps"] or 0) >= 1.0 and (ratios["envoy_p99"] or float("inf")) <= 1.0
    return Report("gateway", figures, ratios, BAR, met, notes=notes)


def _ratio(figures: dict[str, Any], peer: str, figure: str) -> float | None:
    """Ours to theirs."""
    if figures[peer] is None or not figures[peer][figure]:
        return None
    return round(figures["banyan"][figure] / figures[peer][figure], 3)


def show_report(report: Report) -> None:
    columns = ["", "requests/s", "p50 ms", "p99 ms", "CPU µs/request", "MB", "errors"]
    rows = []
    for name in MAKERS:
        f = report.figures[name]
        if f is None:
            rows.append([name, *["not measured"] * 6])
        else:
            numbers = (f["p50_ms"], f["p99_ms"], f["cpu_us_per_request"], f["resident_mb"])
            rows.append([name, f"{f['rps']:,.0f}", *(f"{number:.2f}" for number in numbers), str(f["errors"])])
    show(f"gateway: one core, {CONNECTIONS} connections, 12 headers, 1 KiB JSON", columns, rows, report)
