"""`banyan drill …`: faults on purpose, on a scratch stack of their own. It touches no stack of yours."""

from __future__ import annotations

import sys

import click


@click.group()
def drill() -> None:
    """Kill parts on purpose, on a scratch stack of its own, and account for every row."""


@drill.command()
@click.option("--rounds", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed kills the same, in the same order.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=2.0,
    show_default=True,
    help="The longest that load goes on before a kill.",
)
@click.option(
    "--kafka/--no-kafka",
    "through_kafka",
    default=True,
    show_default=True,
    help="One of the two streams goes through a broker that is killed as well; it needs java and mvn.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def cdc(rounds: int, seed: int, seconds: float, through_kafka: bool, as_json: bool) -> None:
    """kill -9 of streams, of Kafka, and of both PostgreSQL servers at random moments of a workload.

    At the end both sides must be equal by a compare of its own, nothing accepted be missing, no row have come twice,
    and verification have called nothing drift. Exit code 1 when that is not so.
    """
    from banyan.errors import ServerMissing
    from load.drill.cdc import run
    from load.drill.world import DrillError

    try:
        account = run(rounds, seed, seconds, lambda line: click.echo(line, err=True), through_kafka)
    except ServerMissing as e:
        raise click.ClickException(f"{e}; or say --no-kafka") from e
    except DrillError as e:
        raise click.ClickException(str(e)) from e
    for note in account.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(
        f"{account.rounds} rounds, {sum(account.kills.values())} kills, {account.committed} transactions accepted:"
        f" {'all well' if account.well else 'NOT well'} ({account.differing} rows differ, {account.lost} lost,"
        f" {account.doubled} doubled, {account.false_positives} false alarms in {account.verifications} verifications)",
        err=True,
    )
    if as_json:
        click.echo(account.as_json())
    if not account.well:
        sys.exit(1)
