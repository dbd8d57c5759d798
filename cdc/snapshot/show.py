"""A re-snapshot's progress on a terminal: a bar for each table with rate and time left, a line for each when it
ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cdc.snapshot.requests import Request

# A stream that runs takes a request up at once; after so long a person is told that none does, seconds.
UNHEARD = 5.0


def bars(states: Iterable[list[Request]], quiet: bool = False) -> list[Request]:
    """Show where requests stand until they have ended; returns how. Ctrl-C ends the showing, not the requests."""
    console = Console(stderr=True, quiet=quiet)
    began, told = time.monotonic(), False
    found: list[Request] = []
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as shown:
        tasks: dict[int, TaskID] = {}
        for found in states:
            for request in found:
                _update(shown, tasks, request)
            if not told and time.monotonic() - began > UNHEARD and all(r.state == "waiting" for r in found):
                told = True
                console.print(f"nobody has taken it up yet: is the stream {found[0].stream} running?")
    return found


def _update(shown: Progress, tasks: dict[int, TaskID], request: Request) -> None:
    total = max(request.expected or 0, request.rows)
    if request.id not in tasks:
        tasks[request.id] = shown.add_task(request.table, total=total, completed=request.rows, note="")
    task = tasks[request.id]
    speed = next((t.speed for t in shown.tasks if t.id == task), None)
    note = request.waits or (f"{speed:,.0f} rows/s" if speed else request.state)
    shown.update(task, total=total, completed=request.rows, note=note)
