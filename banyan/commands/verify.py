"""`banyan verify`: compare a domain's two sides, once or all the time, and repair what differs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec

from banyan.commands import plan_views as views
from banyan.commands.asking import confirm, require_somebody
from banyan.commands.plan import opened
from migration_plan.context import Context
from migration_plan.repairing import Repair, differing, repair_domain
from migration_plan.verification import Verification, compared

#: Between two passes of --continuous, seconds.
PAUSE_S = 5.0

Compare = Callable[[], Verification]


@click.command()
@click.argument("domain")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Only this table, by either name; repeatable.")
@click.option("--once/--continuous", default=True, help="One comparison, or one after the other until Ctrl-C.")
@click.option("--rate", type=click.FloatRange(min=1), help="Rows a second at most [default: as fast as it goes].")
@click.option("--repair", is_flag=True, help="Give what differs the owner's row again, at the other side.")
@click.option("--dry-run", is_flag=True, help="With --repair: say what would be repaired; repair nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
@click.option("--reason", help="Why; it is kept in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask before a repair; comparing alone changes nothing.")
def verify(
    domain: str,
    tables: tuple[str, ...],
    once: bool,
    rate: float | None,
    repair: bool,
    dry_run: bool,
    as_json: bool,
    reason: str | None,
    yes: bool,
) -> None:
    """Compare a domain's two sides row by row. Exit code 1 when they differ.

    A comparison of some --table says nothing to the gate of a switch.
    """
    if dry_run and not repair:
        raise click.UsageError("--dry-run goes with --repair: comparing changes nothing")
    if repair and not once:
        raise click.UsageError("--repair compares once: say it without --continuous")
    if repair and not dry_run and not yes:
        require_somebody()
    with opened() as context:

        def compare() -> tuple[Verification, Any]:
            with views.verify_progress(quiet=as_json) as progress:
                return compared(context, domain, tables=tables, rate=rate, reason=reason, progress=progress)

        if not once:
            _continue(lambda: compare()[0], as_json)
            return
        result, report = compare()
        repaired: Repair | None = None
        drifted = differing(report)
        if not as_json:
            views.show_verified(result)
        if repair and drifted and not dry_run:
            if not yes:
                confirm(f"give {len(drifted)} keys the owner's row again, at the side that does not own them?")
            repaired = _repair(context, domain, drifted, reason, as_json)
            result, _ = compare()
            if not as_json:
                views.show_verified(result)
        elif repair and not as_json:
            click.echo(f"would repair {len(drifted)} keys" if drifted else "nothing to repair")
    if as_json:
        found = msgspec.to_builtins(result)
        click.echo(json.dumps({**found, **({"repair": msgspec.to_builtins(repaired)} if repaired else {})}))
    if not dry_run and (not result.clean or (repaired is not None and not repaired.whole)):
        sys.exit(1)


def _repair(context: Context, domain: str, drifted: list[Any], reason: str | None, quiet: bool) -> Repair:
    with views.verify_progress(quiet=quiet) as progress:
        repaired = repair_domain(
            context, domain, drifted, reason=reason, progress=lambda done, of: progress("repaired", done, of)
        )
    if not quiet:
        views.show_repaired(repaired)
    return repaired


def _continue(compare: Compare, as_json: bool) -> None:
    """Until Ctrl-C, which is how it ends well."""
    try:
        while True:
            result = compare()
            if as_json:
                click.echo(msgspec.json.encode(result).decode())
            else:
                views.show_verified(result)
            time.sleep(PAUSE_S)
    except KeyboardInterrupt:
        return
