"""`banyan plan schema | diff | graph`: the plan for editors, beside what runs, and beside the monolith as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.markup import escape
from rich.tree import Tree

from banyan.commands.plan import Failure, opened, plan
from banyan.commands.plan_views import out
from migration_plan import plan as plans
from migration_plan.differences import Difference, of_plans
from migration_plan.errors import PlanInvalid
from migration_plan.graph import RULE, Graph, order
from migration_plan.graph.draw import dot as as_dot
from migration_plan.graph.draw import mermaid as as_mermaid
from migration_plan.graph.draw import short
from migration_plan.graph.look import look
from migration_plan.schema import schema as plan_schema
from migration_plan.verbs.diff import Compared, against_running

#: Pieces of evidence that the tree shows of one edge; --json has all.
SHOWN = 4

_FILE = click.Path(path_type=Path, dir_okay=False)
_MARKS = {"added": "[green]+[/]", "removed": "[red]-[/]", "changed": "[yellow]~[/]"}


@plan.command()
def schema() -> None:
    """Print the JSON Schema of a plan, for editors (the same as migration_plan/plan.schema.json)."""
    click.echo(plan_schema().decode(), nl=False)


@plan.command(short_help="Compare the plan with what runs, or two plans.")
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(files: tuple[Path, ...], as_json: bool) -> None:
    """Compare the plan with what the gateway routes by and the ledger knows; with two FILES, the first with the second.

    What only a controller reads (gates, budgets, canary steps) counts from its next step on, and is in a comparison of
    two files only.
    """
    match files:
        case ():
            with opened() as context:
                compared = against_running(context)
            _tell(compared, f"the gateway's table {compared.version}, and the plan", as_json)
        case (before, after):
            try:
                found = of_plans(plans.load(before), plans.load(after))
            except PlanInvalid as error:
                raise Failure(error) from error
            _tell(Compared(0, found, []), f"{before} and {after}", as_json)
        case _:
            raise click.UsageError("name no file (the plan beside what runs), or two")


def _tell(compared: Compared, what: str, as_json: bool) -> None:
    if as_json:
        found = [one.plain() for one in compared.found]
        click.echo(json.dumps({"differences": found, "notes": compared.notes}, default=str))
        return
    for one in compared.found:
        out.print(f"{_MARKS[one.kind]} {escape(_said(one))}", soft_wrap=True)
    for note in compared.notes:
        out.print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    count = len(compared.found)
    out.print(
        f"{what}: {count} difference{'s' if count != 1 else ''}" if count else f"{what} are alike", soft_wrap=True
    )


def _said(one: Difference) -> str:
    match one.kind:
        case "added":
            return f"{one.path}: {_value(one.after)}"
        case "removed":
            return f"{one.path}: {_value(one.before)}"
    return f"{one.path}: {_value(one.before)} → {_value(one.after)}"


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:117]}…"


@plan.command(short_help="Draw what holds the monolith together, and an order to take it apart.")
@click.option(
    "--source", type=click.Path(path_type=Path, file_okay=False), help="The monolith's code [default: the plan's]."
)
@click.option("--dot", "form", flag_value="dot", help="For Graphviz.")
@click.option("--mermaid", "form", flag_value="mermaid", help="For Mermaid.")
@click.option("--json", "form", flag_value="json", help="One JSON object, with all evidence.")
def graph(source: Path | None, form: str | None) -> None:
    """Draw the monolith's parts: tables, what of each reaches into another (foreign keys, triggers, functions, views,
    queries in the code), each with its evidence, and the order in which they may leave.

    Schema and code are read; nothing is run or changed.
    """
    with opened() as context:
        found = look(context, source)
    match form:
        case "dot":
            click.echo(as_dot(found))
        case "mermaid":
            click.echo(as_mermaid(found))
        case "json":
            turns = msgspec.to_builtins(order(found))
            click.echo(json.dumps({**msgspec.to_builtins(found), "rule": RULE, "order": turns}))
        case _:
            _draw(found)


def _draw(found: Graph) -> None:
    for part in found.parts:
        planned = " [dim](in the plan)[/]" if part.planned else ""
        tree = Tree(
            f"[bold]{escape(part.name)}[/]{planned}: {escape(', '.join(map(short, part.tables)) or 'no tables')}"
        )
        for label, edges in (("needs", found.out_of(part.name)), ("needed by", found.into(part.name))):
            for edge in edges:
                other = edge.target if label == "needs" else edge.source
                how = "writes" if edge.writes else "reads"
                how = "" if edge.kind == "foreign key" else f" {how}"
                branch = tree.add(f"{label} [bold]{escape(other)}[/]: {edge.kind}{how} {escape(short(edge.table))}")
                if label == "needed by":
                    continue  # its evidence stands where the need is
                for line in edge.evidence[:SHOWN]:
                    branch.add(f"[dim]{escape(line)}[/]")
                if len(edge.evidence) > SHOWN:
                    branch.add(f"[dim]and {len(edge.evidence) - SHOWN} more (--json)[/]")
        out.print(tree)
    if found.code is None:
        out.print("[yellow]note[/]: no code was read: say where it is with --source, or as legacy.source in the plan")
    out.print("\n[bold]Order[/]")
    for number, turn in enumerate(order(found), start=1):
        planned = "" if turn.planned else " [dim](not in the plan)[/]"
        by = f" (by {', '.join(turn.by)})" if turn.by else ""
        count = f"{turn.into} edges into it{by}, {turn.out_of} out of it"
        out.print(f"{number:>2} {escape(turn.name):<16} {escape(count)}{planned}", soft_wrap=True)
    out.print(f"[dim]rule: {RULE}[/]", soft_wrap=True)


__all__ = ["plan"]
