"""How results, the ledger and the plan look on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from migration_plan.errors import Refused
from migration_plan.ledger import Row
from migration_plan.plan import Plan
from migration_plan.repairing import Repair
from migration_plan.switch.recorder import Hook, nobody_dies
from migration_plan.switch.steps import STEPS
from migration_plan.verbs import Gate, Prepared, Published, Result
from migration_plan.verbs.inplace import Part
from migration_plan.verification import Verification

# Piped output is not cut to a terminal's width.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)

MARK = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "inconclusive": "[yellow]?   [/]"}


def show_published(published: Published, to: Console = out) -> None:
    workers = f" (table {published.version}, {published.applied} of {published.workers} workers)"
    to.print(escape(published.message + (workers if published.changed else "")), soft_wrap=True)
    if published.unplanned:
        to.print(f"[dim]not in the plan, left as it is: {escape(', '.join(published.unplanned))}[/]", soft_wrap=True)


def end(result: Result, *, as_json: bool) -> None:
    """Show what a step came to, or a look at it; exits as the step would when that says that it is refused."""
    if as_json:
        click.echo(result.to_json().decode())
    elif result.dry_run:
        show_look(result)
    else:
        show_result(result)
    if result.refusal:
        sys.exit(Refused.exit_code)


def show_result(result: Result) -> None:
    for gate in result.gates:
        out.print(f"  {MARK[gate.verdict]} {_said(gate)}", soft_wrap=True)
    if result.repaired:
        out.print(f"  {escape(result.repaired)}", soft_wrap=True)
    out.print(escape(result.message), soft_wrap=True)


def show_look(result: Result, to: Console = out) -> None:
    """A dry run: what stops the step comes first, each with what helps; then the steps, then the other gates."""
    to.print(escape(result.message), style="red" if result.refusal else "", soft_wrap=True)
    for reason in result.refusal:
        to.print(f"  [red]stops[/] {escape(reason)}", soft_wrap=True)
    for step in result.steps:
        to.print(f"  {escape(step)}", soft_wrap=True)
    for gate in result.gates:
        if not any(reason.startswith(f"{gate.gate}: ") for reason in result.refusal):
            to.print(f"  {MARK[gate.verdict]} {_said(gate)}", soft_wrap=True)
    if result.predicted_pause_ms is not None:
        low, high = result.predicted_interval_ms or (result.predicted_pause_ms, result.predicted_pause_ms)
        to.print(f"  predicted pause of writes: {result.predicted_pause_ms:.0f} ms (9 in 10: {low:.0f} to {high:.0f})")
    if result.predicted_pause_ms is not None and result.before != "service":
        to.print("  a rollback would lose: " + ("nothing" if not result.rollback_loses else ""), soft_wrap=True)
        for loss in result.rollback_loses:
            to.print(f"    {escape(loss)}", soft_wrap=True)
    to.print("dry run: nothing was changed")


def show_part(part: Part, to: Console = out) -> None:
    to.print(f"{part.state:<9} {escape(part.what)}", soft_wrap=True)


def show_prepared(result: Prepared, to: Console = out) -> None:
    for part in result.parts:
        show_part(part, to)
    to.print(escape(result.message), soft_wrap=True)
    if result.dry_run:
        to.print("dry run: nothing was changed")


def _said(gate: Gate) -> str:
    helping = "" if gate.verdict == "pass" else f"; {gate.help}"
    return escape(f"{gate.gate:<18} {gate.measured}{helping}")


def show_files(states: Mapping[Path, str]) -> None:
    for path, state in states.items():
        out.print(f"{state:<8} {escape(str(path))}", soft_wrap=True)
    out.print("dry run: nothing was changed")


def show_history(rows: Sequence[Row]) -> None:
    if not rows:
        err.print("the ledger has nothing of that yet")
    for row in rows:
        entry = row.entry
        way = f"{entry.before} → {entry.after}" if entry.before else entry.after or ""
        at = row.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        words = [
            f"[dim]{row.id:>5} {at}[/]",
            f"{entry.actor:<16}",
            f"{entry.domain:<13}",
            f"{entry.verb}/{entry.step}",
            way,
        ]
        figures = " ".join(
            f"{name}={value}" for name, value in entry.measured.items() if isinstance(value, int | float | bool)
        )
        out.print(" ".join(words), f"[dim]{escape(figures)}[/]", escape(entry.reason or ""), soft_wrap=True)


def show_plan(plan: Plan) -> None:
    for name, domain in plan.domains.items():
        steps = ", ".join(f"{step} %" for step in domain.canary_steps)
        waves = f"{len(domain.waves)} waves" if len(domain.waves) > 1 else "one wave"
        out.print(f"[bold]{name}[/]: {waves}; canary {steps}; pause at most {domain.budgets.pause_ms} ms")
        for operation in domain.operations:
            key = ", ".join(operation.key) or "no key"
            out.print(
                f"  {operation.kind:<5} {operation.method:<4} {escape(operation.path):<34} {key}"
                + (" (native)" if operation.native else "")
            )


@contextlib.contextmanager
def verify_progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per table; called with (table, rows compared, rows expected)."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as bars:
        tasks: dict[str, int] = {}

        def advance(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = bars.add_task(table, total=total)
            bars.update(tasks[table], completed=done, total=max(total, done))  # type: ignore[arg-type]

        yield advance


def live_steps(quiet: bool) -> Hook:
    """Tells each numbered step of a switch as it begins, to a person at a terminal."""
    if quiet or not err.is_terminal:
        return nobody_dies
    numbers = {step.name: step.number for step in STEPS}

    def tell(step: str, when: str) -> None:
        if when == "before":
            err.print(f"[dim]{numbers[step]} {step.replace('_', ' ')}[/]")

    return tell


def show_verified(result: Verification) -> None:
    for table, rows in result.tables.items():
        out.print(f"  {table:<28} {rows:>10} rows")
    for difference in result.samples:
        out.print(f"  [red]differs[/] {escape(difference)}", soft_wrap=True)
    verdict = "[green]equal[/]" if result.clean else f"[red]{result.drift} differences[/]"
    if result.unsettled and not result.drift:
        why = f"{', '.join(result.stalled)} does not catch up" if result.stalled else "they kept changing"
        verdict = f"[yellow]{result.unsettled} keys could not be judged[/]: {why}"
    out.print(f"{result.domain}: {verdict}, {result.rows} rows compared in {result.ms / 1000:.1f} s")


def show_repaired(result: Repair) -> None:
    for left in result.left[:10]:
        out.print(f"  [red]not repaired[/] {escape(left)}", soft_wrap=True)
    more = f", {result.alike} had come right by themselves" if result.alike else ""
    out.print(f"{result.domain}: {result.repaired} keys repaired{more}, {len(result.left)} not")
