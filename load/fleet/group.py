"""The processes of a simulated fleet, as whoever runs it sees them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from banyan.errors import ServerFailed
from load.bench.rig import resident_mb
from load.fleet.worker import Fleet


class FleetFailed(ServerFailed):
    """A process of the fleet ended, or the fleet did not get where it should in time."""


class Group:
    """`start` it, ask it, `stop` it; its processes end with this one, too: their input ends."""

    def __init__(self, fleets: list[Fleet], log: Path) -> None:
        self._fleets, self._log = fleets, log
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> Group:
        for fleet in self._fleets:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "load.fleet.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
            self.processes.append(process)
            self._tell(process, msgspec.json.encode(fleet))
        return self

    def figures(self, version: int = 1) -> dict[str, Any]:
        """All processes' together. Raises: FleetFailed."""
        for process in self.processes:
            self._tell(process, json.dumps({"version": version}).encode())
        answers = [self._hear(process) for process in self.processes]
        together = {
            key: sum((a[key] for a in answers), [] if isinstance(answers[0][key], list) else 0)
            for key in answers[0]
            if not isinstance(answers[0][key], dict)
        }
        for key in ("phases", "statuses"):
            names = {name for a in answers for name in a[key]}
            together[key] = {name: sum(a[key].get(name, 0) for a in answers) for name in sorted(names)}
        return together

    def until(
        self, reached: Callable[[dict[str, Any]], bool], what: str, seconds: float, version: int = 1
    ) -> dict[str, Any]:
        """The figures when they are so. Raises: FleetFailed."""
        deadline = time.monotonic() + seconds
        while not reached(found := self.figures(version)):
            if time.monotonic() > deadline:
                brief = {k: v for k, v in found.items() if not isinstance(v, list)}
                raise FleetFailed(f"not within {seconds:g} s: {what}; {brief}")
            time.sleep(0.25)
        return found

    def resident_mb(self) -> float:
        return sum(resident_mb(process.pid) for process in self.processes)

    def _tell(self, process: subprocess.Popen[bytes], line: bytes) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
        except OSError:
            raise FleetFailed(f"a process of the fleet ended: see {self._log}") from None

    def _hear(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise FleetFailed(f"a process of the fleet ended: see {self._log}")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        for process in self.processes:
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except OSError:
                    pass
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def split(fleet: Fleet, processes: int) -> list[Fleet]:
    """The same devices over so many processes."""
    parts, first = [], fleet.first
    for number in range(processes):
        count = fleet.count // processes + (number < fleet.count % processes)
        parts.append(
            msgspec.structs.replace(fleet, first=first, count=count, start_per_s=fleet.start_per_s / processes)
        )
        first += count
    return parts
