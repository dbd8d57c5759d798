"""`banyan bench switch`: how long writes wait while pricing moves to its service and back, under clients with memories.

A stack of its own; clients that keep a pace whatever the system does; a switch and a rollback, again and again. Each
pause is told twice: by the switch, from the hold to the release (steps 2 to 7), and by the clients, as the longest that
a write waited which was under way in that time, its own work included. `calm` is the same of stretches as long in which
nothing moved. At the end the clients look up in both databases what became of every write.
"""

from __future__ import annotations

import bisect
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from load.bench.report import Report, show
from load.bench.rig import percentile
from load.bench.switch_rig import Move, Rig, clients, move, rig, to_canary
from migration_plan.context import Context

WANTED = 3000.0  # requests/s: 1,000 writes and 2,000 reads
CLIENTS = 24  # each has one request at a time, and a tariff, which every list of tariffs shows
CALIBRATION_S = 5.0
SHARE = 0.6  # of the most that the machine carries, where it does not carry what is wanted: queues are not pauses
GAP_S = 0.7  # between two moves
BAR = {"pause_p99_ms": "< 200 (stretch < 60)", "failed": "= 0", "lost": "= 0", "doubled": "= 0"}

#: What others say of theirs. None of them measures it on our machine, or by the same clock.
PUBLISHED = (
    ("Vitess MoveTables", "usually a few seconds", "docs concepts/move-tables.md (server.go: 2 lock cycles of 100 ms)"),
    ("PlanetScale (Vitess)", "typically less than 1 s", "their post of 2026-02-16, by a digest of it"),
    ("gh-ost", "lock of at most 3 s, then tried again", "doc/cut-over.md, --cut-over-lock-timeout-seconds"),
    ("Ghostferry", "order of seconds", "docs/source/copydbinprod.rst"),
    ("pg_easy_replicate", "less than 1 minute", "README; switchover in lib/pg_easy_replicate/orchestrate.rb"),
)  # fmt: skip

#: Called with what is being done, and how many of how many moves are done.
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Load:
    """Requests per second."""

    per_s: float
    most: float  # that the machine carried


def run(turns: int, wanted: float = WANTED, tell: Tell = lambda _text, _done, _of: None) -> Report:
    """`turns` switches, each with a rollback. Raises: StackError and its like, PlanError when a move fails for good."""
    moves = 2 * turns
    with rig(lambda line: tell(line, 0, moves)) as made:
        with clients(made, 30, 4) as some:  # so that nothing is used for the first time later
            to_canary(made)
            some.end()
        load = _calibrate(made, wanted, lambda line: tell(line, 0, moves))
        with made.context() as context, clients(made, load.per_s, CLIENTS) as crowd:
            done = _moves(context, turns, tell)
            tell("looking up every write in both databases", moves, moves)
            found = crowd.end()
    return report(done, found, load, wanted)


def _calibrate(made: Rig, wanted: float, tell: Callable[[str], None]) -> Load:
    tell(f"{CALIBRATION_S:g} s of {wanted:g} requests/s, to see what this machine carries")
    with clients(made, wanted, CLIENTS, CALIBRATION_S) as crowd:
        found = crowd.end()
    most = (found["reads"] + found["writes"]) / found["seconds"]
    per_s = wanted if most > 0.97 * wanted else round(most * SHARE, -1)
    tell(f"it carries {most:.0f} requests/s; {per_s:g} it will be")
    return Load(per_s, most)


def _moves(context: Context, turns: int, tell: Tell) -> list[Move]:
    done: list[Move] = []
    for turn in range(2 * turns):
        verb = "switch" if turn % 2 == 0 else "rollback"
        time.sleep(GAP_S)
        done.append(move(context, verb))
        pause, attempts = done[-1].result.pause_ms or 0.0, done[-1].result.attempts
        tell(f"{verb}: {pause:.0f} ms" + (f", attempt {attempts}" if attempts != 1 else ""), turn + 1, 2 * turns)
    time.sleep(GAP_S)
    return done


class Waits:
    """Writes in the order in which they were sent."""

    def __init__(self, waits: Sequence[Sequence[float]]) -> None:
        self._waits = sorted((sent, took) for sent, took in waits)
        self._sent = [sent for sent, _ in self._waits]
        self._longest = max((took for _, took in self._waits), default=0.0)

    def longest(self, begin: float, end: float) -> float | None:
        """Milliseconds, of the writes that were under way between two moments; None when there was none."""
        first = bisect.bisect_left(self._sent, begin - self._longest / 1000)
        last = bisect.bisect_right(self._sent, end)
        return max((took for sent, took in self._waits[first:last] if sent + took / 1000 >= begin), default=None)


def report(done: Sequence[Move], found: dict[str, Any], load: Load, wanted: float) -> Report:
    waits = Waits(found["waits"])
    pauses = [one.result.pause_ms or 0.0 for one in done]
    seen = [longest for one in done if (longest := waits.longest(one.held, one.released)) is not None]
    calm = [
        longest
        for one in done
        if (longest := waits.longest(one.held - 0.5, one.held - 0.5 + one.released - one.held)) is not None
    ]
    figures = {
        "switches": sum(one.verb == "switch" for one in done),
        "rollbacks": sum(one.verb == "rollback" for one in done),
        **_spread("pause", pauses),
        **_spread("clients_pause", seen),
        **_spread("calm", calm),
        "attempts": sum(one.result.attempts or 0 for one in done),
        "given_up": sum(len(one.given_up) for one in done),
        "predicted_within": _within(done),
        "predicted_p50_ms": round(statistics.median(one.result.predicted_pause_ms or 0.0 for one in done), 1),
        "steps_p50_ms": _steps(done, 50),
        "steps_p99_ms": _steps(done, 99),
        "writes_per_s": round(found["writes"] / found["seconds"], 1),
        "reads_per_s": round(found["reads"] / found["seconds"], 1),
        "requests_per_s_wanted": wanted,
        "requests_per_s_most": round(load.most, 1),
        "write_p50_ms": round(found["write_p50_ms"], 1),
        "write_p99_ms": round(found["write_p99_ms"], 1),
        "read_p99_ms": round(found["read_p99_ms"], 1),
        "retried": found["retried"],
        "stale_reads": found["stale_reads"],
        "audited": found["checked"],
        **{name: found[name] for name in ("failed", "lost", "doubled")},
        "published": {name: {"pause": pause, "source": source} for name, pause, source in PUBLISHED},
    }
    notes = []
    if load.per_s < wanted:
        notes.append(
            f"this machine carries {load.most:.0f} requests/s of the {wanted:g} wanted; clients kept a pace of"
            f" {load.per_s:g} instead: {figures['writes_per_s']:.0f} writes/s and {figures['reads_per_s']:.0f} reads/s"
        )
    notes += [f"given up once: {why}" for one in done for why in one.given_up]
    notes += [f"failed: {sample}" for sample in found["samples"]] + found["findings"]
    met = figures["pause_p99_ms"] < 200 and not any(
        found[name] for name in ("failed", "lost", "doubled", "stale_reads")
    )
    return Report("switch", figures, {}, BAR, met, notes=notes)


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    p50, p99 = percentile(values, 50), percentile(values, 99)
    return {
        f"{name}_p50_ms": round(p50, 1),
        f"{name}_p99_ms": round(p99, 1),
        f"{name}_max_ms": round(max(values, default=0.0), 1),
    }


def _within(done: Sequence[Move]) -> str:
    """How often the pause lay in the interval that was predicted right before."""
    hits = 0
    for one in done:
        low, high = one.result.predicted_interval_ms or (0.0, 0.0)
        hits += low <= (one.result.pause_ms or 0.0) <= high
    return f"{hits} of {len(done)}"


def _steps(done: Sequence[Move], percent: float) -> dict[str, float]:
    names = list(done[0].result.step_ms) if done else []
    inside = [name for name in names if name not in ("preflight", "verify")]
    took = {name: [one.result.step_ms[name] for one in done] for name in inside}
    took["ledger"] = [one.ledger_ms for one in done]
    return {name: round(percentile(values, percent), 1) for name, values in took.items()}


def show_report(report: Report) -> None:
    f = report.figures
    kinds = {"pause": "as the switch tells it", "clients_pause": "longest write of a client", "calm": "the same, calm"}
    rows = [
        [text, *(f"{f[f'{kind}_{part}_ms']:.1f}" for part in ("p50", "p99", "max"))] for kind, text in kinds.items()
    ]
    rows += [
        [f"  {name}", f"{f['steps_p50_ms'][name]:.1f}", f"{f['steps_p99_ms'][name]:.1f}", ""]
        for name in f["steps_p50_ms"]
    ]
    title = (
        f"switch: {f['switches']} switches, {f['rollbacks']} rollbacks at {f['writes_per_s']:.0f} writes/s and"
        f" {f['reads_per_s']:.0f} reads/s"
    )
    console = Console()
    peers = Table(title="published by others, not measured here")
    for column in ("", "pause of writes", "where"):
        peers.add_column(column)
    for name, said in f["published"].items():
        peers.add_row(name, said["pause"], said["source"])
    console.print(peers)
    console.print(
        f"failed {f['failed']}, lost {f['lost']}, doubled {f['doubled']} of {f['audited']:,} values looked up;"
        f" stale reads {f['stale_reads']}; pause within its prediction {f['predicted_within']}"
    )
    show(title, ["ms", "p50", "p99", "max"], rows, report)
