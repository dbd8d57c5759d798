"""What a benchmark gives back, and how a person sees it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table


class Report(msgspec.Struct):
    """One object per benchmark. A peer that could not be had is None, its reason is in `notes`."""

    bench: str
    figures: dict[str, Any]
    ratios: dict[str, float | None]
    bar: dict[str, str]
    met: bool
    machine: dict[str, Any] = msgspec.field(default_factory=lambda: machine())
    notes: list[str] = []

    def as_json(self) -> str:
        return msgspec.json.encode(self).decode()


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def show(title: str, columns: list[str], rows: list[list[str]], report: Report) -> None:
    """A table, the ratios against their bar, and the notes."""
    console = Console()
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for name, ratio in report.ratios.items():
        shown = "not measured" if ratio is None else f"{ratio:.2f}"
        console.print(f"{name}: [bold]{shown}[/bold]  (bar: {report.bar.get(name, 'none')})")
    for note in report.notes:
        console.print(f"[yellow]note:[/yellow] {note}")
    console.print("[green]bar met[/green]" if report.met else "[red]bar not met[/red]")
