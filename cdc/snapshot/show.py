"""A re-snapshot's progress on a terminal: a bar for each table with rate and time left, a line for each when it
ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cdc.snapshot.progress import Progress as Figures
from cdc.snapshot.requests import STEPS, Request
from cdc.snapshot.standing import span

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
            if not told and time.monotonic() - began > UNHEARD and found and all(r.state == "waiting" for r in found):
                told = True
                console.print(f"nobody has taken it up yet: is the stream {found[0].stream} running?")
    return found


@contextmanager
def following(progress: Callable[[], Figures | None]) -> Iterator[None]:
    """A bar of a fill that this process does, for as long as it is at work."""
    console, done = Console(stderr=True), threading.Event()
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("snapshot", total=None, note="")

        def show() -> None:
            while not done.wait(0.25):
                if (figures := progress()) is not None:
                    left, rate = figures.eta_s(), figures.rate()
                    note = figures.waits or f"{rate:,.0f} rows/s" + (f", {span(left)} left" if left is not None else "")
                    total = max(figures.expected, figures.rows)
                    shown.update(task, description=figures.table, total=total, completed=figures.rows, note=note)

        shower = threading.Thread(target=show, name="progress", daemon=True)
        shower.start()
        try:
            yield
        finally:
            done.set()
            shower.join()


def _update(shown: Progress, tasks: dict[int, TaskID], request: Request) -> None:
    total = max(request.expected or 0, request.rows)
    if request.id not in tasks:
        tasks[request.id] = shown.add_task(request.table, total=total, completed=request.rows, note="")
    task = tasks[request.id]
    speed = next((t.speed for t in shown.tasks if t.id == task), None)
    counted = request.state == "done" or request.step not in STEPS
    told = request.state if request.state == "waiting" or counted else STEPS[request.step]
    note = request.waits or (f"{speed:,.0f} rows/s" if speed and counted else told)
    shown.update(task, total=total, completed=request.rows, note=note)
