"""`banyan mapping …`: what a mapping says of a rollback, by its declarations and by every real row."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from banyan.commands import mapping_views as views
from banyan.commands.plan import opened
from cdc import mapping as mappings
from migration_plan.roundtrip import check_mapping, lint_mapping


@click.group()
def mapping() -> None:
    """Lint a mapping; check it on every row of both sides."""


@mapping.command()
@click.argument("what", metavar="FILE|DOMAIN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lint(what: str, as_json: bool) -> None:
    """Say what is wrong with a mapping, and which columns a rollback would lose.

    A FILE is read alone. Of a DOMAIN the mapping of the plan is also compared with the columns of both databases. Exit
    code 1 when the streams would fail.
    """
    if what.endswith((".yaml", ".yml")) or Path(what).is_file():
        try:
            name, found = what, mappings.declared(mappings.load(what))
        except mappings.MappingError as error:
            raise click.ClickException(str(error)) from error
    else:
        with opened() as context:
            name, found = what, lint_mapping(context, what)
    if as_json:
        click.echo(msgspec.json.encode({"mapping": name, "findings": [str(finding) for finding in found]}).decode())
    else:
        views.show_findings(name, [str(finding) for finding in found])
    if any(finding.severity == "error" for finding in found):
        sys.exit(1)


@mapping.command()
@click.argument("domain")
@click.option("--table", help="Only this table, of either side (public.price).")
@click.option("--limit", type=click.IntRange(1), help="So many rows of each table, by key, instead of all.")
@click.option("--rate", type=click.FloatRange(1), metavar="ROWS", help="At most so many rows a second.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def check(domain: str, table: str | None, limit: int | None, rate: float | None, as_json: bool) -> None:
    """Carry every row of both sides there and back, in memory, and say what would come back changed.

    Reads only, a batch at a time, so nobody waits. Exit code 1 when a row would not survive.
    """
    with opened() as context, views.progress(quiet=as_json) as progress:
        result = check_mapping(context, domain, table=table, limit=limit, rows_per_s=rate, progress=progress)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        views.show_check(result)
    if not result.holds or result.errors:
        sys.exit(1)
