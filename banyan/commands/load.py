"""`banyan load`: clients that read and write on the running stack, and a look at what became of their writes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import psycopg
from rich.live import Live

from banyan.commands import load_views as views
from banyan.commands.stack import raise_on_signals
from banyan.environment import load_environment
from banyan.errors import StackError
from banyan.stack.home import Home
from banyan.stack.traffic import Traffic
from load.audit import AuditReport
from load.clients import DOMAINS, Domain, Fleet, FleetError
from load.stats import Stats

_LOOK_S = 0.5  # between two pictures of the live figures
_SHELVES = 9  # so many runs at a time
_WINDOW = 8  # pictures that they look back: 4 s


@click.command()
@click.option("--seconds", type=click.FloatRange(1, 86_400), help="How long [default: until Ctrl-C].")
@click.option(
    "--rate",
    type=click.IntRange(1, 2000),
    default=240,
    show_default=True,
    help="Requests a second of all clients together.",
)
@click.option("--clients", type=click.IntRange(1, 500), default=24, show_default=True, help="Independent clients.")
@click.option(
    "--domain",
    type=click.Choice([*DOMAINS, "all"]),
    default="all",
    show_default=True,
    help="Whose calls they make; all: a third of rate and clients each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def load(seconds: float | None, rate: int, clients: int, domain: str, as_json: bool) -> None:
    """Let clients read and write on the running stack, then look up in both databases what they were promised.

    About two thirds are reads. Each client writes what is its own (tariffs and an area's prices, a battery, a
    customer's notices), reads half of it back at once, and remembers all of it. Exit code 1 when a request failed, an
    accepted write was lost or stored twice, or a client did not see its own write. What is written stays, since no API
    takes it away; tariffs and areas are the same in every run, so that they do not pile up.
    """
    env = _environment()
    raise_on_signals()
    with _shelf(Home.default()) as shelf:
        fleets = _fleets(env, domain, clients, rate, shelf)
        _work(fleets, env, seconds, as_json)


def _work(fleets: list[Traffic], env: dict[str, str], seconds: float | None, as_json: bool) -> None:
    began = time.monotonic()
    _send(fleets, seconds)
    lasted = time.monotonic() - began
    reports = [_report(traffic, _audit(traffic, env), lasted) for traffic in fleets]
    views.show(reports)
    problems = [problem for report in reports for problem in verdict(report)]
    for problem in problems:
        views.err.print(f"[red]not well[/]: {problem}", soft_wrap=True)
    if as_json:
        click.echo(json.dumps({"well": not problems, "domains": {report["domain"]: report for report in reports}}))
    if problems:
        sys.exit(1)


@contextlib.contextmanager
def _shelf(home: Home) -> Iterator[str]:
    """The first that no other `banyan load` uses at this moment: its tariffs and areas are ours until the end."""
    for number in range(1, _SHELVES + 1):
        with (home.path / f"load-{number}.lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield f"L{number}"
            return
    raise StackError(f"{_SHELVES} times `banyan load` is running already: end one of them first")


def verdict(report: dict[str, Any]) -> list[str]:
    """What went wrong in one domain; empty when all is well."""
    names = {
        "failed": "requests failed",
        "lost_writes": "accepted writes are lost",
        "doubled_writes": "writes are stored twice",
        "stale_reads": "reads did not show the client's own write",
    }
    problems = [f"{report['domain']}: {report[name]} {words}" for name, words in names.items() if report[name]]
    if report["requests"] == 0:
        problems.append(f"{report['domain']}: no request was made")
    return problems


def _environment() -> dict[str, str]:
    """The running stack's variables. Raises: StackError when none runs."""
    home = Home.default()
    running = home.running()
    if running is None:
        raise StackError(f"no stack is running in {home.path}: start one with `banyan up`")
    if not running.ready:
        raise StackError("the stack is still starting: try again in a moment")
    return load_environment()


def _fleets(env: dict[str, str], domain: str, clients: int, rate: int, shelf: str) -> list[Traffic]:
    chosen: tuple[Domain, ...] = DOMAINS if domain == "all" else (domain,)  # type: ignore[assignment]
    url, key = env["BANYAN_GATEWAY_URL"], env["LEGACY_BACKOFFICE_KEY"]
    count, share = max(1, clients // len(chosen)), rate / len(chosen)
    return [Traffic(Fleet(url, key, clients=count, rate=share, domain=name, shelf=shelf)) for name in chosen]


def _send(fleets: list[Traffic], seconds: float | None) -> None:
    """Until the time is over or Ctrl-C. Raises: StackError when the clients cannot go on."""
    for_how_long = f"for {seconds:g} s" if seconds else "until Ctrl-C"
    views.err.print(f"clients at work {for_how_long}: {', '.join(traffic.fleet.domain for traffic in fleets)} …")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            for traffic in fleets:
                traffic.start()
            _watch(fleets, seconds)
        for traffic in fleets:
            traffic.end()
        for traffic in fleets:
            traffic.stop()
    except FleetError as error:
        raise StackError(str(error)) from error


def _watch(fleets: list[Traffic], seconds: float | None) -> None:
    deadline = time.monotonic() + seconds if seconds else None
    seen: list[views.Picture] = []
    with _screen() as screen:
        while deadline is None or (left := deadline - time.monotonic()) > 0:
            time.sleep(_LOOK_S if deadline is None else min(_LOOK_S, left))
            now = views.Picture(time.monotonic(), {t.fleet.domain: (t.stats(), t.accepted_writes()) for t in fleets})
            seen = [*seen[-_WINDOW:], now]
            if screen is not None:
                screen.update(views.live(seen[0], now), refresh=True)


@contextlib.contextmanager
def _screen() -> Iterator[Live | None]:
    """Live figures on a terminal; elsewhere there is nobody to look."""
    if not views.err.is_terminal:
        yield None
        return
    with Live(console=views.err, auto_refresh=False, transient=True) as screen:
        yield screen


def _audit(traffic: Traffic, env: dict[str, str]) -> AuditReport:
    name = f"BANYAN_{traffic.fleet.domain.upper()}_DSN"
    try:
        return traffic.audit(env["BANYAN_LEGACY_DSN"], env[name])
    except psycopg.Error as error:
        why = str(error).strip().splitlines()[0]
        raise StackError(f"what the clients wrote could not be looked up: {why}; see `banyan doctor`") from error


def _report(traffic: Traffic, audited: AuditReport, lasted: float) -> dict[str, Any]:
    """One domain's figures. `accepted_writes` counts requests, `looked_up` the things that they left, once each."""
    stats: Stats = traffic.stats()
    return {
        "domain": traffic.fleet.domain,
        "seconds": round(lasted, 1),
        "requests": stats.requests,
        "requests_per_s": round(stats.requests / lasted, 1),
        "failed": stats.failed,
        "failed_samples": [f"{s.call}: {s.status}: {s.detail}" for s in stats.samples[:5]],
        "retried": stats.retried,
        "stale_reads": stats.stale_reads,
        "p50_ms": round(stats.p50_ms, 1),
        "p99_ms": round(stats.p99_ms, 1),
        "sides": {side: views.of_side(stats, side) for side in views.sides(stats)},
        "accepted_writes": dict(traffic.fleet.accepted().writes),
        "looked_up": audited.values,
        "lost_writes": audited.lost,
        "doubled_writes": audited.doubled,
        "stays": views.stays(traffic.fleet.domain, audited.values, traffic.fleet.shelf),
        "findings": [str(finding) for finding in audited.samples[:5]],
    }
