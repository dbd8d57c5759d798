"""`banyan demo`: the whole system, a migration and a rollback, in front of the user."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from banyan.commands.stack import raise_on_signals, say_addresses
from banyan.errors import StackError
from banyan.stack import boot, config, story
from banyan.stack.demo import Demo
from banyan.stack.home import Home
from banyan.stack.supervisor import Supervisor
from banyan.stack.traffic import Traffic
from load.clients import Fleet

# In a file the lines are wide; on a terminal they are folded under their own column.
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 180)

#: Below this, or below most of a lower `--rate`, the demonstration shows nothing about a busy system, requests/s.
MINIMUM_RATE = 200.0
MOST_OF_RATE = 0.75


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="Verify, print one JSON object last, stop, exit 0 only if all is well.",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 2000),
    default=260,
    show_default=True,
    help="Requests a second of all clients together.",
)
@click.option("--clients", type=click.IntRange(1, 500), default=24, show_default=True, help="Independent clients.")
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=3.0, show_default=True, help="How long to stay in each phase."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the clients' choices.")
def demo(check: bool, rate: int, clients: int, seconds: float, seed: int) -> None:
    """Move pricing to its service and back, under load, in front of you; then leave the console open."""
    home = Home.default()
    _make_room(home)
    raise_on_signals()
    started = time.monotonic()

    def say(step: str, detail: str) -> None:
        line = Table.grid(padding=(0, 2))
        for width in (7, 17, None):
            line.add_column(width=width)
        line.add_row(f"[dim]{time.monotonic() - started:5.1f} s[/]" if step else "", f"[bold]{step}[/]", detail)
        err.print(line)

    with home.lock():
        home.create()
        home.demo_mark.touch()
        settings = config.make(home)
        settings.write()
        supervisor = Supervisor(home)
        boot.announce(settings, supervisor, ready=False)
        report: dict[str, Any] | None = None
        try:
            boot.boot(settings, supervisor, boot.Options(), say)
            supervisor.on_change = lambda: boot.announce(settings, supervisor, ready=True)
            supervisor.on_change()
            say("console", f"{settings['BANYAN_CONSOLE_URL']}   watch it there")
            report = _perform(
                settings,
                supervisor,
                Fleet(
                    settings["BANYAN_GATEWAY_URL"],
                    settings["LEGACY_BACKOFFICE_KEY"],
                    clients=clients,
                    rate=rate,
                    seed=seed,
                ),
                say,
                seconds,
            )
            problems = verdict(report)
            report |= {"well": not problems, "findings": problems}
            for problem in problems:
                say("[red]not well[/]", problem)
            if not problems:
                say("[green]all is well[/]", story.well(report))
            if not check:
                _linger(home, supervisor)
        except KeyboardInterrupt:
            err.print("stopping …")
            if check:
                raise click.Abort() from None
        finally:
            supervisor.stop()
            home.state_file.unlink(missing_ok=True)
    if report is not None:
        click.echo(json.dumps(report))
        if check and problems:
            sys.exit(1)


def _make_room(home: Home) -> None:
    """A demonstration starts from nothing; it throws away only what an earlier one left."""
    if home.is_locked():
        raise StackError("a stack is running here: stop it first with `banyan down`")
    if home.env_file.exists() and not home.demo_mark.exists():
        raise StackError(
            f"{home.path} holds the data of `banyan up`: remove it with `banyan down --purge`, "
            "or set BANYAN_HOME to another folder"
        )
    home.purge()


def _perform(
    settings: config.Config, supervisor: Supervisor, fleet: Fleet, say: boot.Progress, seconds: float
) -> dict[str, Any]:
    traffic = Traffic(fleet)
    act = Demo(settings, supervisor, traffic, say, seconds)
    for line in story.INTRODUCTION:
        say("", line.format(clients=fleet.clients, rate=f"{fleet.rate:g}"))
    began = time.monotonic()
    traffic.start()
    try:
        act.run()
    finally:
        traffic.stop()
    lasted = time.monotonic() - began
    stats = traffic.stats()
    verified = act.banyan("verify", "pricing")
    say("", f"{verified['rows']:,} rows compared: {'equal' if verified['clean'] else 'they differ'}")
    audited = traffic.audit(settings["BANYAN_LEGACY_DSN"], settings["BANYAN_PRICING_DSN"])
    accepted = dict(traffic.fleet.accepted().writes)
    for number, line in enumerate(story.audit_lines(accepted, audited.values, audited.lost, audited.doubled)):
        say("" if number else "audit", line)
    return {
        "requests": stats.requests,
        "requests_per_s": round(stats.requests / lasted, 1),
        "requests_per_s_wanted": min(MINIMUM_RATE, MOST_OF_RATE * fleet.rate),
        "failed": stats.failed,
        "failed_samples": [dataclasses.asdict(sample) for sample in stats.samples[:5]],
        "retried": stats.retried,
        "stale_reads": stats.stale_reads,
        "accepted_writes": sum(accepted.values()),
        "accepted_writes_by_kind": accepted,
        "audited_values": audited.values,
        "lost_writes": audited.lost,
        "doubled_writes": audited.doubled,
        **act.pauses,
        "p99_ms": round(stats.p99_ms, 1),
        "phases": act.phases,
        "breaker": act.breaker,
        "fallbacks_when_service_killed": act.fallbacks,
        "invoices_equal": act.invoices_equal(),
        "verify_clean": bool(verified["clean"]),
        "seconds": round(lasted, 1),
    }


def verdict(report: dict[str, Any]) -> list[str]:
    """What is not as the demonstration promises; empty when all is well."""
    problems = [
        f"{name} is {report[name]}"
        for name in ("failed", "lost_writes", "doubled_writes", "stale_reads")
        if report[name] != 0
    ]
    if report["requests_per_s"] < report["requests_per_s_wanted"]:
        problems.append(
            f"only {report['requests_per_s']} requests/s, {report['requests_per_s_wanted']:.0f} wanted:"
            " this machine is too slow or too busy to show a migration under load; nothing was lost by it"
        )
    if report["fallbacks_when_service_killed"] < 1:
        problems.append("no read fell back while the service was dead")
    if not report["invoices_equal"]:
        problems.append("billing gave other invoices while pricing was away")
    if not report["verify_clean"]:
        problems.append("the two databases differ")
    return problems


def _linger(home: Home, supervisor: Supervisor) -> None:
    running = home.running()
    if running is not None:
        say_addresses(running)
    err.print("The stack stays up. Ctrl-C stops everything.")
    threading.Event().wait()
