"""`banyan snapshot DOMAIN`: read rows of a domain again while it is on line, and repair the side that follows."""

from __future__ import annotations

import sys
import time

import click

from banyan.commands import asking
from banyan.commands.plan import change_options, opened
from cdc.errors import ConfigError
from cdc.snapshot.ask import scope_of
from cdc.snapshot.show import bars
from migration_plan.resnapshot import Resnapshot, Table, cancel, resnapshot_domain


class StillReading(click.ClickException):
    """Ctrl-C: nobody waits any more, the stream goes on."""

    exit_code = 130

    def __init__(self, more: str = "") -> None:
        said = "interrupted: what was asked for goes on, and `banyan status` shows how far it is"
        super().__init__(said + more)


@click.command()
@click.argument("domain")
@click.option("--table", "tables", multiple=True, help="Source table; several times for several [default: all].")
@click.option("--from", "first", metavar="KEY", help='First key of a range: 5, or ["a", 5] for several columns.')
@click.option("--to", "last", metavar="KEY", help="Last key of a range.")
@click.option("--keys", metavar="KEY,KEY…", help='Single keys: 5,7, or [["a", 5], ["b", 7]].')
@click.option("--rows-per-s", type=click.IntRange(1), help="Read no faster than this.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is done: `banyan status` shows how far it is.")
@click.option("--cancel", "cancels", is_flag=True, help="End what is open instead; what was repaired stays so.")
@change_options
def snapshot(
    domain: str,
    tables: tuple[str, ...],
    first: str | None,
    last: str | None,
    keys: str | None,
    rows_per_s: int | None,
    no_wait: bool,
    cancels: bool,
    reason: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read a domain's rows again from the side that owns them, and repair what the other side has of them.

    The streams go on meanwhile, and no write is lost. Exit code 1 when it failed or was cancelled.
    """
    try:
        scope = scope_of(first, last, keys)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    with opened() as context:
        context.plan.domain(domain)  # a wrong name is told before anybody is asked anything
        if cancels:
            if not dry_run:
                click.echo(f"{cancel(context, domain)} requests ended")
            return
        if not dry_run and not yes:
            asking.require_somebody()
            _show(resnapshot_domain(context, domain, tables, scope, dry_run=True, pause=time.sleep))
            asking.confirm("read them again?")
        try:
            found = resnapshot_domain(
                context,
                domain,
                tables,
                scope,
                rows_per_s=rows_per_s,
                wait=not no_wait,
                dry_run=dry_run,
                reason=reason,
                follow=lambda states: bars(states, quiet=as_json),
                pause=time.sleep,
            )
        except KeyboardInterrupt as error:
            raise StillReading(f"; `banyan snapshot {domain} --cancel` ends it") from error
    click.echo(found.to_json().decode()) if as_json else _show(found)
    if found.failed:
        sys.exit(1)


def _show(found: Resnapshot) -> None:
    for table in found.tables:
        click.echo(_line(table))


def _line(table: Table) -> str:
    if table.state == "asked":
        return f"{table.table}: about {table.rows:,} rows into {table.target}"
    rate = f" in {table.seconds:.1f} s, {table.rows / table.seconds:,.0f} rows/s" if table.seconds else ""
    removed = f", {table.removed:,} removed that the source does not have" if table.removed else ""
    problem = f": {table.problem}" if table.problem else ""
    return f"{table.table}: {table.state}, {table.rows:,} rows{rate}{removed}{problem}"
