"""How a mapping's lint and check look on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from banyan.commands.plan_views import err, out
from cdc.mapping.roundtrip import Checked
from migration_plan.roundtrip import MappingCheck

STYLE = {"error": "red", "lost": "yellow", "limit": "dim"}


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "")


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Checked], None]]:
    """A bar per table and side, with its rate and the time that is left."""
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as bars:
        tasks: dict[tuple[str, str, str], int] = {}

        def advance(state: Checked) -> None:
            key = (state.side, state.table, state.to)
            if key not in tasks:
                tasks[key] = bars.add_task(f"{state.side} {state.table}", total=state.estimate)
            total = state.rows if state.complete else max(state.estimate, state.rows)
            bars.update(tasks[key], completed=state.rows, total=total)  # type: ignore[arg-type]

        yield advance


def show_findings(name: str, findings: list[str]) -> None:
    for finding in findings:
        style = STYLE.get(finding.partition(":")[0], "")
        out.print(f"[{style}]{escape(finding)}[/]", soft_wrap=True)
    serious = [finding for finding in findings if not finding.startswith("limit")]
    if not serious:
        out.print(f"{escape(name)}: no column is lost by a rollback", soft_wrap=True)


def show_check(result: MappingCheck) -> None:
    for table in result.tables:
        verdict = "[green]come back[/]" if not table.violated else f"[red]{table.violated} do not come back[/]"
        out.print(f"  {table.side:<8}{table.table:<30} {table.rows:>10} rows  {verdict}")
        for column, rows in table.columns.items():
            out.print(f"    [red]{escape(column) or 'cannot be carried'}[/]: {rows} rows")
        for column, rows in table.lost.items():
            out.print(f"    [yellow]{escape(column)}[/] is not carried, and has a value in {rows} rows")
        for sample in table.samples:
            out.print(f"    {escape(sample)}", soft_wrap=True)
    for finding in result.findings:
        if not finding.startswith("limit"):
            out.print(f"  {escape(finding)}", soft_wrap=True)
    for note in result.notes:
        err.print(f"[yellow]note[/]: {escape(note)}", soft_wrap=True)
    verdict = "[green]the law holds[/]" if result.holds else f"[red]{result.violated} rows break the law[/]"
    out.print(f"{result.domain}: {verdict}, {result.rows} rows in {result.ms / 1000:.1f} s")
