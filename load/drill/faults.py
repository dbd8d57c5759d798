"""Faults on the parts of a stage: kill -9, SIGSTOP, a cut way, a slow way; each with its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from load.drill.cells import Cell
from load.drill.stage import DOMAIN, Stage

#: How long a part is frozen: longer than the pause's budget (1 s), so that the switch meets its end.
LASTS = 1.6
SLOW = 0.03  # seconds that each piece of a slow way takes
PROCESSES = {
    "forward": f"cdc-{DOMAIN}-forward",
    "reverse": f"cdc-{DOMAIN}-reverse",
    "legacy": "legacy",
    "service": DOMAIN,
    "pg-legacy": "pg-legacy",
    "pg-services": "pg-services",
    "redis": "redis",
}


def begin(made: Stage, cell: Cell, controller: subprocess.Popen[str]) -> Callable[[], None]:
    """Returns what ends it. A killed part comes back by its supervisor; a killed controller does not."""
    match cell.fault:
        case "kill":
            _signal(_pids(made, cell, controller), signal.SIGKILL)
            return lambda: None
        case "freeze":
            pids = _pids(made, cell, controller)
            _signal(pids, signal.SIGSTOP)
            return lambda: _signal(pids, signal.SIGCONT)
        case "cut" | "slow":
            proxies = made.ways[cell.component]
            for proxy in proxies:
                made.proxies.tell(proxy.cut if cell.fault == "cut" else lambda proxy=proxy: proxy.slow(SLOW))  # type: ignore[misc]

            def heal() -> None:
                for proxy in proxies:
                    made.proxies.tell(proxy.heal)

            return heal


def lasts(made: Stage, cell: Cell) -> bool:
    """True: the fault goes on until the verb has ended by itself. What is frozen wakes up a while later.

    While a controller does not answer, somebody else gives the command, from where the ways are open: that must do the
    work, or say who is at it.
    """
    if cell.component == "controller" and cell.fault in ("freeze", "cut"):
        made.verb(cell.verb, aside=True)
    elif cell.fault == "freeze":
        time.sleep(LASTS)
    return cell.fault in ("cut", "slow")


def _pids(made: Stage, cell: Cell, controller: subprocess.Popen[str]) -> list[int]:
    if cell.component == "controller":
        return [controller.pid]
    if cell.component == "gateway":  # one of its workers
        parent = made.supervisor.child("gateway").pid
        return [pid for pid in descendants(parent) if "--index=0" in _command(pid)][:1]
    top = made.supervisor.child(PROCESSES[cell.component]).pid
    return [top, *descendants(top)]


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in thread.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
