"""How the clients' figures look on a terminal: live, and as a summary."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from load.stats import Stats

out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)

WHERE = {"legacy": "monolith", "service": "service", "unknown": "no answer"}


@dataclass(frozen=True, slots=True)
class Picture:
    """All domains at one moment: (figures, accepted write requests) by name; `at` on the monotonic clock."""

    at: float
    domains: Mapping[str, tuple[Stats, int]]


def sides(stats: Stats) -> list[str]:
    """Those that answered anything, the monolith first."""
    found = {side for _, side in stats.histograms}
    return [side for side in WHERE if side in found]


def of_side(stats: Stats, side: str) -> dict[str, Any]:
    whole = stats.latency(side=side)
    counts: dict[str, Any] = {f"{kind}s": stats.latency(kind=kind, side=side).count for kind in ("read", "write")}
    return counts | {"p50_ms": round(whole.p50_ms, 1), "p99_ms": round(whole.p99_ms, 1)}


def shares(stats: Stats, since: Stats | None = None) -> str:
    """Who answered: `reads 48 % service, writes 0 % service`."""
    words = []
    for kind in ("read", "write"):
        every = stats.latency(since=since, kind=kind).count
        served = stats.latency(since=since, kind=kind, side="service").count
        words.append(f"{kind}s {100 * served / every if every else 0:.0f} % at the service")
    return ", ".join(words)


def live(before: Picture, now: Picture) -> Table:
    """The last seconds, by domain and side; failed, stale and accepted are since the start."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("domain", "answered by", "requests/s", "p50", "p99", "failed", "stale reads", "writes accepted"):
        table.add_column(column, justify="left" if column in ("domain", "answered by") else "right")
    lasted = max(now.at - before.at, 0.001)
    for name, (stats, writes) in now.domains.items():
        since = before.domains[name][0] if before is not now else None
        totals = [_bad(stats.failed), _bad(stats.stale_reads), f"{writes:,}"]
        for number, side in enumerate(sides(stats)):
            last = stats.latency(since=since, side=side)
            rate = f"{last.count / lasted:.0f}" if since is not None else "…"
            times = [f"{ms:.0f} ms" if last.count else "–" for ms in (last.p50_ms, last.p99_ms)]
            table.add_row("" if number else name, WHERE[side], rate, *times, *(totals if not number else [""] * 3))
    return table


def show(reports: Sequence[dict[str, Any]]) -> None:
    for report in reports:
        name = report["domain"]
        out.print(
            f"[bold]{name}[/]: {report['requests']:,} requests in {report['seconds']} s"
            f" ({report['requests_per_s']:.0f}/s), {_bad(report['failed'])} failed, p50 {report['p50_ms']:.0f} ms,"
            f" p99 {report['p99_ms']:.0f} ms",
            soft_wrap=True,
        )
        for side, figures in report["sides"].items():
            out.print(
                f"  {WHERE[side]:<9} {figures['reads']:>6,} reads  {figures['writes']:>6,} writes"
                f"   p50 {figures['p50_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms"
            )
        accepted = report["accepted_writes"]
        out.print(f"  accepted  {added_up(accepted, 'write requests')}", soft_wrap=True)
        out.print(f"  left      {added_up(report['looked_up'], 'things, each looked up in both databases')}:")
        out.print(
            f"            {_bad(report['lost_writes'])} lost, {_bad(report['doubled_writes'])} doubled;"
            f" {_bad(report['stale_reads'])} reads did not show the client's own write"
        )
        out.print(f"  stays     {report['stays']}", soft_wrap=True)
        for line in (*report["findings"], *report["failed_samples"]):
            err.print(f"  [red]{escape(line)}[/]", soft_wrap=True)


def stays(domain: str, left: Mapping[str, int], shelf: str | None) -> str:
    """What the run leaves behind: no API takes these away, and some are written again by the next run."""
    things = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in left.items() if count) or "nothing"
    match domain:
        case "pricing" if shelf is not None:
            return f"{things}; the next run writes the same tariffs (LOAD-{shelf}-…) and prices (areas {shelf}…) again"
        case "devices":
            return f"{things}: there is no call that takes a battery away"
        case "notifications":
            return f"{things}, and their customers: one who has notices cannot be deleted"
    return things


def added_up(counts: Mapping[str, int], of_what: str) -> str:
    """`12 quotes + 3 tariffs = 15 write requests`."""
    parts = " + ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items() if count)
    return f"{parts} = {sum(counts.values()):,} {of_what}" if parts else f"0 {of_what}"


def _bad(count: int) -> str:
    return f"[red]{count:,}[/]" if count else "0"
