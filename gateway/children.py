"""The processes of one parent: started, started again when they die, ended in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

QUICK_DEATH_SECONDS = 10.0  # whoever lived shorter may die again at once
SHORTEST_BACKOFF = 0.2
LONGEST_BACKOFF = 10.0

log = structlog.get_logger("gateway.parent")


@dataclass(slots=True)
class Child:
    command: Sequence[str]
    fds: Sequence[int]
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0  # in a row, each soon after its start
    again_at: float | None = None  # when it is dead: the time to start it again


class Children:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._all: dict[str, Child] = {}

    def start(self, name: str, command: Sequence[str], fds: Sequence[int]) -> None:
        """`command`: of `python -m gateway`; `fds`: what it inherits."""
        self._all[name] = self._started(command, fds)

    def _started(self, command: Sequence[str], fds: Sequence[int]) -> Child:
        whole = [sys.executable, "-m", "gateway", *command]
        # stdin: see gateway/lifeline.py
        process = subprocess.Popen(whole, stdin=subprocess.PIPE, env=self._environment, pass_fds=fds)
        return Child(command, fds, process, time.monotonic())

    def mend(self) -> None:
        """Start again who has died: at once after a long life, ever later when it happens again and again."""
        now = time.monotonic()
        for name, child in self._all.items():
            if child.again_at is None:
                code = child.process.poll()
                if code is None:
                    continue
                lived = now - child.started
                child.deaths = child.deaths + 1 if lived < QUICK_DEATH_SECONDS else 0
                backoff = backoff_after(child.deaths)
                child.again_at = now + backoff
                log.error(
                    "a process of the gateway ended, it is started again",
                    process=name, ended_by=_ended_by(code), lived_s=round(lived, 1), deaths_in_a_row=child.deaths,
                    again_in_s=backoff,
                )  # fmt: skip
            if now >= child.again_at:
                if child.process.stdin is not None:
                    child.process.stdin.close()
                deaths = child.deaths
                self._all[name] = self._started(child.command, child.fds)
                self._all[name].deaths = deaths

    def dead(self) -> list[str]:
        return [name for name, child in self._all.items() if child.process.poll() is not None]

    def signal_workers(self, number: int) -> None:
        for name, child in self._all.items():
            if name != "admin" and child.again_at is None:
                child.process.send_signal(number)

    def end(self, names: Sequence[str] | None = None, within: float = 3.0) -> None:
        """Ask all of them, or these, to end; who has not after `within` seconds is killed."""
        chosen = [self._all.pop(name).process for name in names or list(self._all) if name in self._all]
        for process in chosen:
            process.terminate()
        deadline = time.monotonic() + within
        for process in chosen:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def backoff_after(deaths: int) -> float:
    """Seconds until the next start."""
    return 0.0 if not deaths else min(SHORTEST_BACKOFF * 2.0 ** (deaths - 1), LONGEST_BACKOFF)


def _ended_by(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def replacement() -> subprocess.Popen[bytes]:
    """A new parent that takes over from this one, with this one's environment and outputs."""
    command = [sys.executable, "-m", "gateway", "serve", "--take-over"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=os.environ, start_new_session=True)
