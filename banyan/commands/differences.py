"""`banyan differences`: in what the two sides' answers differ, and both answers to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from banyan.commands.plan import opened
from banyan.commands.plan_views import err, out
from gateway.errors import AdminError, AdminUnreachable
from migration_plan.context import Context
from migration_plan.errors import Refused, Unreachable

_VERDICTS = {"regression": "[red]regression[/]", "noise": "[dim]noise[/]", "rare": "[yellow]rare[/]"}


@click.command()
@click.argument("domain")
@click.option("--samples", type=click.IntRange(0, 50), default=3, show_default=True, help="Pairs of answers to show.")
@click.option("--reset", is_flag=True, help="Begin the counting anew: what differed has been repaired.")
@click.option("--reason", default="", help="Why, with --reset; it is kept in the gateway's audit.")
@click.option("--dry-run", is_flag=True, help="With --reset: say what would be forgotten; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all samples.")
def differences(domain: str, samples: int, reset: bool, reason: str, dry_run: bool, as_json: bool) -> None:
    """Show what was compared of a domain's answers, field by field.

    raw: answers in which the sides differed there. noise: in how many legacy differed with itself, asked twice. A
    regression is a field in which the sides differ clearly more often; it stops the gate before a canary.
    """
    if dry_run and not reset:
        raise click.UsageError("--dry-run goes with --reset: only that changes something")
    with opened() as context:
        context.plan.domain(domain)
        try:
            if reset and not dry_run:
                _reset(context, domain, reason)
            found = context.admin().shadow(domain)
        except AdminUnreachable as error:
            raise Unreachable(str(error)) from error
        except AdminError as error:
            raise Refused(str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    _show(domain, found, samples)
    if dry_run:
        out.print(f"would count anew: {found['compared']} comparisons of {domain} would be forgotten", soft_wrap=True)
        out.print("dry run: nothing was changed")


def _reset(context: Context, domain: str, reason: str) -> None:
    admin = context.admin()
    table = admin.table()
    counted = table.domains[domain].shadow_round if domain in table.domains else 0
    why = reason or "count the differences anew"
    admin.patch_domain(domain, table.version, context.actor, why, shadow_round=counted + 1)


def _show(domain: str, found: dict[str, Any], samples: int) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("operation", "field", "kind", "raw", "noise", "verdict"):
        table.add_column(column, justify="right" if column in ("raw", "noise") else "left")
    for field in found["fields"]:
        raw, noise = _of(field["raw"], field["compared"]), _of(field["noise"], field["twice"])
        names = (escape(field["operation"]), escape(field["field"]), field["kind"])
        table.add_row(*names, raw, noise, _VERDICTS[field["verdict"]])
    if found["fields"]:
        out.print(table)
    elif found["compared"]:
        out.print("no differences")
    out.print(f"[dim]{_summary(found)}[/]", soft_wrap=True)
    if not found["compared"]:
        err.print(f"nothing is compared yet: {domain} must be in shadow or canary, and be read", soft_wrap=True)
    if found["refusing"]:
        err.print(
            "[yellow]note[/]: the service answered a dry run without Banyan-Dry-Run: it may have kept the write. No"
            " write is rehearsed there until shadow_writes was 0",
            soft_wrap=True,
        )
    for sample in _newest(found["samples"], samples):
        _show_sample(sample)


def _of(count: int, total: int) -> str:
    return f"{count} of {total}" if total else "–"


def _summary(found: dict[str, Any]) -> str:
    parts = [
        f"{found['compared']} compared, {found['mismatched']} differed",
        f"legacy asked twice {found['twice']} times",
        *(f"{found[name]} {name}" for name in ("unsettled", "dropped", "rehearsed", "unrehearsed") if found[name]),
    ]
    return "; ".join(parts)


def _newest(samples: Sequence[dict[str, Any]], count: int) -> Sequence[dict[str, Any]]:
    return samples[-count:] if count else ()


def _show_sample(sample: dict[str, Any]) -> None:
    out.print(f"\n[bold]{escape(sample['method'])} {escape(sample['target'])}[/] ({escape(sample['operation'])})")
    for field in sample["fields"]:
        said = f"{field['field']}: legacy {field['legacy']}, service {field['service']}"
        out.print(f"  {escape(said)}", soft_wrap=True)
    for side in ("legacy", "service"):
        answer = sample[side]
        out.print(f"  [dim]{side} {answer['status']}[/] {escape(answer['body'])}", soft_wrap=True)
