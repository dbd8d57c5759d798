"""`banyan bench …`: measures Banyan against its peers, side by side in one run."""

from __future__ import annotations

import click


@click.group()
def bench() -> None:
    """Measure against peers, side by side. With --json the last line is one object of figures."""


@bench.command()
@click.option("--seconds", type=click.IntRange(2, 600), default=12, show_default=True, help="Load for each contestant.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def gateway(seconds: int, as_json: bool) -> None:
    """One gateway worker on one core against Envoy and nginx with the same duties."""
    from load.bench.gateway import run, show_report

    report = run(seconds, lambda line: click.echo(line, err=True))
    show_report(report)
    if as_json:
        click.echo(report.as_json())


@bench.command()
@click.option("--seconds", type=click.IntRange(1, 600), default=15, show_default=True, help="Load for each of the two.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def guard(seconds: int, as_json: bool) -> None:
    """The monolith's writes with and without the guard on its tables."""
    from load.bench.guard import run, show_report

    report = run(seconds, lambda line: click.echo(line, err=True))
    show_report(report)
    if as_json:
        click.echo(report.as_json())
