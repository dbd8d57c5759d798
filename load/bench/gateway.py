"""`banyan bench gateway`: one worker on one core against Envoy and nginx, same duties, same backend, same minutes.

The contestants take turns in short rounds, and medians are compared: what disturbs the machine for a while disturbs all
of them. Load and backend share the other core. A second course has all reads copied to the other side as well.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from banyan.errors import BanyanError
from banyan.servers.ports import free_port
from gateway.compiling import compile_data_path
from gateway.errors import NotCompiled
from load.bench import contestants, footprint, wrk
from load.bench.contestants import Running
from load.bench.report import Report, show
from load.bench.rig import pins

CONNECTIONS = 32
ROUND_SECONDS = 1  # short, so that a disturbance hits all contestants alike
BAR = {"envoy_rps": ">= 1.0", "envoy_p99": "<= 1.0"}
Maker = Callable[..., AbstractContextManager[Running]]
CONTESTANTS = ("banyan", "envoy", "nginx")


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


def run(seconds: float, tell: Callable[[str], None] = lambda _: None, *, compiled: bool = True) -> Report:
    """`seconds` of load for each contestant. Raises: banyan.errors.ServerMissing without wrk.

    `compiled`: our data path as machine code, as its image has it, made first where it is not there, and beside it as
    plain Python; else, or where it cannot be made, only that.
    """
    wrk.binary()
    own, others = pins()
    notes = [] if own else ["fewer than two cores, or no taskset: nothing is pinned"]
    makers = _makers(compiled and _compile(tell, notes))
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        script = wrk.write_script(folder)
        direct = stack.enter_context(contestants.backend(folder, free_port(), others))
        course = Course(folder, script, int(direct.url.split(":")[2].split("/")[0]), own, others, notes, tell)
        with course.contestants(makers) as running:
            tell(f"{footprint.IDLE} idle connections")
            idle = {one.name: round(footprint.idle_kb(one), 2) for one in running}  # before load has made room
            results = course.race(running, seconds)
            tell("one request at a time")
            added = footprint.added_ms(direct, running, script, others)
        with course.contestants({name: makers[name] for name in CONTESTANTS}, mirror=True) as running:
            results |= course.race(running, min(seconds, max(2.0, seconds / 3)))
            copies = footprint.copies(folder / "banyan_shadow-state")
    return _report(results, added, idle, copies, notes)


def _makers(compiled: bool) -> dict[str, Maker]:
    ours = contestants.banyan
    makers: dict[str, Maker] = {
        "banyan": functools.partial(ours, compiled=compiled), "envoy": contestants.envoy, "nginx": contestants.nginx,
    }  # fmt: skip
    if compiled:
        makers["banyan_interpreted"] = functools.partial(ours, compiled=False, called="banyan_interpreted")
    return makers


def _compile(tell: Callable[[str], None], notes: list[str]) -> bool:
    tell("compiling the data path, where it is not yet (a minute)")
    try:
        compile_data_path()
    except NotCompiled as error:
        notes.append(f"the data path is interpreted: {error}")
        return False
    return True


@dataclass(frozen=True, slots=True)
class Course:
    """Where and how the contestants run; `own` and `others` are command prefixes that pin."""

    folder: Path
    script: Path
    backend_port: int
    own: list[str]
    others: list[str]
    notes: list[str]
    tell: Callable[[str], None]

    @contextlib.contextmanager
    def contestants(self, makers: Mapping[str, Maker], *, mirror: bool = False) -> Iterator[list[Running]]:
        """Those that can be had here."""
        with contextlib.ExitStack() as stack:
            running: list[Running] = []
            for contestant, make in makers.items():
                try:
                    made = make(self.folder, free_port(), self.backend_port, self.own, mirror=mirror)
                    running.append(stack.enter_context(made))
                except BanyanError as error:
                    if contestant == "banyan":
                        raise
                    self.notes.append(f"{contestant}: {error}")
            yield running

    def race(self, running: list[Running], seconds: float) -> dict[str, Rounds]:
        results = {one.name: Rounds() for one in running}
        for one in running:
            wrk.run(one.url, self.script, 1, connections=CONNECTIONS, pin=self.others)  # warm up
        rounds = max(1, round(seconds / ROUND_SECONDS))
        for turn in range(rounds):
            for one in running if turn % 2 == 0 else reversed(running):
                self.tell(f"round {turn + 1} of {rounds}: {one.name}")
                _round(one, results[one.name], self.script, self.others)
        return results


def _round(one: Running, into: Rounds, script: Path, pin: list[str]) -> None:
    before = one.cpu_seconds()
    measured = wrk.run(one.url, script, ROUND_SECONDS, connections=CONNECTIONS, pin=pin)
    into.measured.append(measured)
    into.cpu_us.append((one.cpu_seconds() - before) * 1e6 / max(1, measured.requests))
    into.resident_mb = one.resident_mb()


def _report(
    results: dict[str, Rounds],
    added: dict[str, float],
    idle: dict[str, float],
    copies: dict[str, int],
    notes: list[str],
) -> Report:
    figures: dict[str, Any] = dict.fromkeys([*CONTESTANTS, *(f"{name}_shadow" for name in CONTESTANTS)])
    figures |= {name: rounds.figures() for name, rounds in results.items()}
    for name in added:
        figures[name] |= {"added_ms": added[name], "idle_kb": idle[name]}
    figures["banyan_shadow"] |= copies
    ratios = {
        "envoy_rps": _ratio(figures, "envoy", "rps"),
        "envoy_p99": _ratio(figures, "envoy", "p99_ms"),
        "nginx_rps": _ratio(figures, "nginx", "rps"),
        "envoy_cpu": _ratio(figures, "envoy", "cpu_us_per_request"),
        "envoy_added": _ratio(figures, "envoy", "added_ms"),
        "envoy_idle": _ratio(figures, "envoy", "idle_kb"),
        "envoy_shadow_rps": _ratio(figures, "envoy_shadow", "rps", "banyan_shadow"),
        "envoy_shadow_p99": _ratio(figures, "envoy_shadow", "p99_ms", "banyan_shadow"),
        "interpreted_rps": _ratio(figures, "banyan_interpreted", "rps"),
        "nginx_shadow_rps": _ratio(figures, "nginx_shadow", "rps", "banyan_shadow"),
    }
    met = (ratios["envoy_rps"] or 0) >= 1.0 and (ratios["envoy_p99"] or float("inf")) <= 1.0
    return Report("gateway", figures, ratios, BAR, met, notes=notes)


def _ratio(figures: dict[str, Any], peer: str, figure: str, own: str = "banyan") -> float | None:
    """Ours to theirs."""
    if figures.get(peer) is None or not figures[peer][figure]:
        return None
    return round(figures[own][figure] / figures[peer][figure], 3)


def show_report(report: Report) -> None:
    columns = ["", "req/s", "p50 ms", "p99 ms", "CPU µs", "MB", "errors", "added ms", "idle kB"]
    rows = []
    for name, f in report.figures.items():
        if f is None:
            rows.append([name, *["not measured"] * 8])
            continue
        numbers = (f["p50_ms"], f["p99_ms"], f["cpu_us_per_request"], f["resident_mb"])
        aside = [f"{f[figure]:.3f}" if figure in f else "" for figure in ("added_ms", "idle_kb")]
        rows.append([name, f"{f['rps']:,.0f}", *(f"{number:.2f}" for number in numbers), str(f["errors"]), *aside])
    show(f"gateway: one core, {CONNECTIONS} connections, 12 headers, 1 KiB JSON", columns, rows, report)
