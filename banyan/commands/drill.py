"""`banyan drill …`: faults on purpose, on a scratch stack of their own. It touches no stack of yours."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from load.drill.cells import Cell


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="The switch and the rollback with each fault once: `drill switch --quick`.")
@click.pass_context
def drill(ctx: click.Context, quick: bool) -> None:
    """Kill parts on purpose, on a scratch stack of its own, and account for every row."""
    if ctx.invoked_subcommand is None:
        if not quick:
            raise click.UsageError("say --quick, or what to drill: switch or cdc", ctx)
        ctx.invoke(switch, quick=True)


@drill.command()
@click.option("--quick/--full", default=True, show_default=True, help="Each fault once, or each fault at each step.")
@click.option("--component", "components", multiple=True, help="Only this part; may be given again.")
@click.option("--step", "steps", multiple=True, help="Only this step (`cross`) or point (`cross.before`).")
@click.option("--seconds", type=click.FloatRange(min=1), help="After so many, no further cell begins.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Leave out so many cells: go on where one ended.")
@click.option(
    "--evidence", type=click.Path(path_type=Path, file_okay=False), default=Path("drill-evidence"), show_default=True,
    help="Folder for the logs and the ledger of each cell that failed.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Name the cells; start nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def switch(
    quick: bool,
    components: tuple[str, ...] = (),
    steps: tuple[str, ...] = (),
    seconds: float | None = None,
    skip: int = 0,
    evidence: Path = Path("drill-evidence"),
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """Kill, freeze, cut off or slow each part at the steps of a switch and of a rollback, under load.

    After each the wave must come to rest with one owner, nothing that was accepted be lost or doubled, every client
    have read its own writes, and the same command, given again, have finished the work. Exit code 1 when not so.
    """
    from load.drill import cells as matrix_of

    unknown = [name for name in components if name not in matrix_of.FAULTS]
    if unknown:
        raise click.ClickException(f"no part {unknown[0]!r}; there are: {', '.join(matrix_of.FAULTS)}")
    known = {*matrix_of.POINTS, *(point.partition(".")[0] for point in matrix_of.POINTS)}
    if unknown := [name for name in steps if name not in known]:
        raise click.ClickException(f"no step {unknown[0]!r}; there are: {', '.join(matrix_of.POINTS)}")
    # Who names a part or a step wants all of it.
    every = matrix_of.quick() if quick and not steps else matrix_of.full()
    cells = list(matrix_of.chosen(every, components, steps))[skip:]
    if dry_run:
        for cell in cells:
            click.echo(str(cell))
        return
    _drill_switch(cells, evidence, seconds, as_json)


def _drill_switch(cells: Sequence[Cell], evidence: Path, seconds: float | None, as_json: bool) -> None:
    from banyan.commands.stack import raise_on_signals
    from load.bench.report import machine
    from load.drill.matrix import account, table
    from load.drill.switch import run
    from load.drill.world import DrillError

    raise_on_signals()
    began = time.monotonic()
    try:
        outcomes = run(cells, evidence, lambda line: click.echo(line, err=True), seconds)
    except DrillError as e:
        raise click.ClickException(str(e)) from e
    click.echo(table(outcomes), err=as_json)
    for outcome in outcomes:
        if not outcome.well:
            click.echo(f"not well: {outcome.cell}: {'; '.join(outcome.problems)} (see {outcome.evidence})", err=True)
    told = account(outcomes, time.monotonic() - began, machine())
    if as_json:
        click.echo(json.dumps(told))
    if not told["well"]:
        sys.exit(1)


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
