"""Runs a service of the compose file without a container engine, by just the command and environment that it gives.

What is put in for what only exists in the stack's network and containers, and nothing else:

- `pg-legacy:5432`, `pg-services:5432`, `redis:6379` → the addresses of real servers that the test started;
- `<own service>:<port>`, `0.0.0.0:<port>`, `127.0.0.1:<port>`, and a word that is just such a port → 127.0.0.1 and a
  free port (each own port number is used by one service only), `0.0.0.0` → `127.0.0.1`;
- the paths at which volumes are mounted → a folder for each volume, or the repository's own folder for `./…`;
- program names → those beside this interpreter.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from banyan.servers.ports import free_port
from tests.integration.deploy import compose

HEALTHY_WITHIN_S = 60.0
JOB_WITHIN_S = 120.0


@dataclass
class Substitution:
    """From the file's addresses and paths to those of this machine."""

    servers: dict[str, str]
    volumes: Path
    ports: dict[str, str] = field(default_factory=dict)

    def port(self, number: str) -> str:
        while number not in self.ports:
            free = str(free_port())
            if free not in self.ports.values():
                self.ports[number] = free
        return self.ports[number]

    def apply(self, text: str, service: Mapping[str, Any], names: set[str]) -> str:
        for address, real in self.servers.items():
            text = text.replace(address, real)
        hosts = "|".join(sorted((re.escape(n) for n in names), key=len, reverse=True))
        text = re.sub(rf"(?<=//)(?:{hosts}):(\d+)", lambda m: f"127.0.0.1:{self.port(m[1])}", text)
        reals = set(self.servers.values())
        text = re.sub(
            r"(?:0\.0\.0\.0|127\.0\.0\.1):(\d+)",
            lambda m: m[0] if m[0] in reals or m[1] in self.ports.values() else f"127.0.0.1:{self.port(m[1])}",
            text,
        )
        if text in self.ports:
            return self.ports[text]
        for target, source in compose.mounts(service).items():
            text = text.replace(target, str(self.folder(source)))
        return "127.0.0.1" if text == "0.0.0.0" else text

    def folder(self, source: str) -> Path:
        if source.startswith("./"):
            return compose.ROOT / source
        folder = self.volumes / source
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass
class Container:
    """One service, started as the file says."""

    name: str
    service: Mapping[str, Any]
    substitution: Substitution
    names: set[str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def words(self, words: list[str]) -> list[str]:
        program, *rest = (self._put(word) for word in words)
        return [self._program(program), *rest]

    def _put(self, text: str) -> str:
        return self.substitution.apply(text, self.service, self.names)

    @staticmethod
    def _program(name: str) -> str:
        beside = Path(sys.executable).parent / name
        return sys.executable if name == "python" else str(beside) if beside.exists() else name

    def environment(self) -> dict[str, str]:
        """The file's, and what any container has."""
        given = {k: self._put(str(v)) for k, v in self.service.get("environment", {}).items()}
        home = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PYTHONUNBUFFERED": "1",
        }
        offline = {k: v for k, v in os.environ.items() if k == "BANYAN_DATA_DIR"}
        return {**home, **offline, **given}

    def learn_ports(self) -> None:
        """Choose a free port for each that the service names, so that all words are put in alike from any thread.

        A port that follows a flag is known by the health check that asks for it.
        """
        self.words(list(self.service.get("healthcheck", {}).get("test", ["CMD", "true"])[1:]))
        self.words(list(self.service["command"]))
        self.environment()

    def start(self) -> None:
        command = self.words([*self.service.get("entrypoint", []), *self.service["command"]])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment(), cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def finish(self) -> str | None:
        """Wait for a job; what went wrong, or None."""
        assert self.process is not None
        try:
            code = self.process.wait(JOB_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return f"did not end within {JOB_WITHIN_S:.0f} s: {self.tail()}"
        return None if code == 0 else f"ended with {code}: {self.tail()}"

    def wait_healthy(self) -> str | None:
        """Run the file's health check until it passes; what went wrong, or None."""
        assert self.process is not None
        kind, *test = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        deadline, pause = time.monotonic() + HEALTHY_WITHIN_S, threading.Event()
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return f"ended with {self.process.returncode}: {self.tail()}"
            done = subprocess.run(
                self.words(test), env=self.environment(), cwd=self.folder, capture_output=True, check=False, timeout=30
            )
            if done.returncode == 0:
                return None
            pause.wait(0.5)  # each look starts a Python
        return f"not healthy within {HEALTHY_WITHIN_S:.0f} s: {done.stderr.decode()[-300:]} {self.tail()}"

    def stop(self) -> float:
        """SIGTERM as `docker stop` does; seconds until it was gone. After its grace period it is killed."""
        assert self.process is not None
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(float(self.service.get("stop_grace_period", "10s").removesuffix("s")))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                return float("inf")
        return time.monotonic() - begun

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]
