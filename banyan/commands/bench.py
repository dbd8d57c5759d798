"""`banyan bench …`: measures Banyan against its peers, side by side in one run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from load.bench.report import Report


def _progress(line: str) -> None:
    click.echo(line, err=True)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for what is done, of how much; lines where no person watches."""
    err = Console(stderr=True, highlight=False)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bars:
        task = bars.add_task("", total=None)

        def tell(text: str, done: int, of: int) -> None:
            bars.update(task, description=text, completed=done, total=of)
            if not err.is_terminal:
                _progress(f"{done}/{of} {text}")

        yield tell


def _show(report: Report, show_report: Callable[[Report], None], as_json: bool) -> None:
    show_report(report)
    if as_json:
        click.echo(report.as_json())


@click.group()
def bench() -> None:
    """Measure against peers, side by side. With --json the last line is one object of figures."""


@bench.command()
@click.option("--seconds", type=click.IntRange(1, 600), default=12, show_default=True, help="Load for each contestant.")
@click.option(
    "--compiled/--interpreted",
    default=True,
    show_default=True,
    help="Our data path as machine code, as its image has it (made first, in a minute); or as plain Python only.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def gateway(seconds: int, compiled: bool, as_json: bool) -> None:
    """One gateway worker on one core against Envoy and nginx with the same duties."""
    from load.bench.gateway import run, show_report

    _show(run(seconds, _progress, compiled=compiled), show_report, as_json)


@bench.command()
@click.option("--seconds", type=click.IntRange(1, 600), default=15, show_default=True, help="Load for each of the two.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def guard(seconds: int, as_json: bool) -> None:
    """The monolith's writes with and without the guard on its tables."""
    from load.bench.guard import run, show_report

    _show(run(seconds, _progress), show_report, as_json)


@bench.command()
@click.option("--rows", type=click.IntRange(10_000, 50_000_000), default=200_000, show_default=True, help="Backlog.")
@click.option("--seconds", type=click.IntRange(3, 600), default=8, show_default=True, help="Live load for each.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="Also what needs a JVM.")
@click.option(
    "--only", multiple=True, type=click.Choice(["direct", "native", "debezium", "kafka"]), help="Not the rest."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def cdc(rows: int, seconds: int, peers: bool, only: tuple[str, ...], as_json: bool) -> None:
    """Changes captured, mapped and applied, beside PostgreSQL's own logical replication, Debezium and Kafka."""
    from load.bench.cdc import run, show_report

    _show(run(rows, seconds, _progress, peers, only), show_report, as_json)


@bench.command()
@click.option("--requests", type=click.IntRange(100, 10_000_000), default=200_000, show_default=True)
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed asks the same requests.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def soak(requests: int, workers: int, seed: int, as_json: bool) -> None:
    """Random faults of the servers under load: no answer may reach anybody but who asked for it, and nothing leaks."""
    from load.bench.soak import run, show_report

    _show(run(requests, workers, seed, _progress), show_report, as_json)


@bench.command()
@click.option("--seconds", type=click.IntRange(2, 600), default=10, show_default=True, help="Load in each state.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def shadow(seconds: int, as_json: bool) -> None:
    """What clients notice of shadowed reads when the shadowed side is well, dead, slow (5 s) or lying."""
    from load.bench.shadow import run, show_report

    _show(run(seconds, _progress), show_report, as_json)


@bench.command()
@click.option("--seconds", type=click.IntRange(1, 600), default=10, show_default=True, help="Load and changes.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def swap(seconds: int, workers: int, as_json: bool) -> None:
    """How long a published route table takes to be live on all workers under load; no request may fail."""
    from load.bench.swap import run, show_report

    _show(run(seconds, workers, _progress), show_report, as_json)


@bench.command()
@click.option("--mib", type=click.IntRange(1, 1 << 20), default=1024, show_default=True, help="Of each body.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def stream(mib: int, as_json: bool) -> None:
    """Large uploads and downloads, by length and chunked: how far the gateway's memory grows."""
    from load.bench.stream import run, show_report

    _show(run(mib, _progress), show_report, as_json)


@bench.command()
@click.option("--messages", type=click.IntRange(100, 100_000_000), default=100_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def websocket(messages: int, as_json: bool) -> None:
    """Messages through tunnels: each comes back as it was sent, in order."""
    from load.bench.sockets import run, show_report

    _show(run(messages, _progress), show_report, as_json)


@bench.command()
@click.option("--connections", type=click.IntRange(10, 50_000), default=2000, show_default=True, help="Slow ones.")
@click.option("--seconds", type=click.IntRange(1, 600), default=4, show_default=True, help="Of each half of a round.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="The median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def slowloris(connections: int, seconds: int, rounds: int, as_json: bool) -> None:
    """Clients that drip or do not read, beside normal ones: these must not notice, those must be cut off."""
    from load.bench.slowloris import run, show_report

    _show(run(connections, seconds, rounds, _progress), show_report, as_json)


@bench.command()
@click.option("--rows", type=click.IntRange(1_000, 100_000_000), default=1_000_000, show_default=True, help="A side.")
@click.option("--seconds", type=click.IntRange(1, 600), default=10, show_default=True, help="Load alone, and compared.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def verify(rows: int, seconds: int, as_json: bool) -> None:
    """Rows compared per second on both sides while a stream carries a steady load, whose lag must not notice."""
    from load.bench.verify import run, show_report

    _show(run(rows, seconds, _progress), show_report, as_json)


@bench.command()
@click.option("--rows", type=click.IntRange(1_000, 100_000_000), default=1_000_000, show_default=True)
@click.option("--turns", type=click.IntRange(1, 20), default=3, show_default=True, help="The medians count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def snapshot(rows: int, turns: int, as_json: bool) -> None:
    """A first fill with its mapping against COPY … | COPY between the same two clusters."""
    from load.bench.snapshot import run, show_report

    _show(run(rows, turns, _progress), show_report, as_json)


@bench.command()
@click.option(
    "--turns", type=click.IntRange(1, 1000), default=30, show_default=True, help="A switch and a rollback each."
)
@click.option(
    "--rate", type=click.IntRange(10, 20_000), default=3000, show_default=True, help="Requests/s, a third writes."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def switch(turns: int, rate: int, as_json: bool) -> None:
    """How long writes wait while pricing moves to its service and back, again and again, under load; none may be lost.

    On a stack of its own, which is gone afterwards, also after Ctrl-C.
    """
    from banyan.commands.stack import raise_on_signals
    from load.bench.switch import run, show_report

    raise_on_signals()
    with _bar() as tell:
        report = run(turns, rate, tell)
    _show(report, show_report, as_json)


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def savings(as_json: bool) -> None:
    """What the battery planner saves on the real prices of 2023 and 2024, without foresight."""
    from load.bench.savings import run, show_report

    _show(run(_progress), show_report, as_json)


@bench.command()
@click.option("--quotes", type=click.IntRange(1_000, 100_000_000), default=1_000_000, show_default=True)
@click.option("--tariffs", type=click.IntRange(1, 500), default=40, show_default=True)
@click.option("--turns", type=click.IntRange(1, 20), default=3, show_default=True, help="The medians count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def pricing(quotes: int, tariffs: int, turns: int, as_json: bool) -> None:
    """Every open quote under every tariff, from the database: exact amounts per second and core."""
    from load.bench.pricing import run, show_report

    _show(run(quotes, tariffs, turns, _progress), show_report, as_json)


@bench.command()
@click.option("--batteries", type=click.IntRange(100, 10_000_000), default=10_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def decide(batteries: int, as_json: bool) -> None:
    """One minute of the imbalance market: policy tables made, and what each battery of a fleet should do."""
    from load.bench.decide import run, show_report

    _show(run(batteries), show_report, as_json)


@bench.command()
@click.option("--agents", type=click.IntRange(10, 100_000), default=10_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True, help="The medians count.")
@click.option("--processes", type=click.IntRange(1, 16), default=2, show_default=True, help="Of simulated agents.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def fleet(agents: int, rounds: int, processes: int, as_json: bool) -> None:
    """Agents that wait for their schedule: how long until all of a fleet have one that is published."""
    from load.bench.fleet import run, show_report

    _show(run(agents, rounds, processes, _progress), show_report, as_json)
