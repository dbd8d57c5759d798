"""A whole stack for tests: started once by the command that a user runs, in a folder of its own, on free ports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from banyan.servers.ports import free_port
from banyan.stack.config import read_env_file
from banyan.stack.home import Home
from tests.fixtures import forked

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0, every: float = 0.05) -> None:
    """Until `condition`, looked at `every` so often, holds; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for: {what}"
        time.sleep(every)


def banyan(home: Path, *arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `banyan` as a user would in that folder."""
    env = {**os.environ, "BANYAN_HOME": str(home)}
    if arguments[0] == "up":  # what it leaves behind was started as a user's is
        command = [sys.executable, "-m", "banyan.cli", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    else:
        done = forked.run("banyan.cli", *arguments, env=env, timeout=timeout)
    assert not check or done.returncode == 0, (
        f"banyan {' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack and how to talk to it."""

    home: Path
    env: dict[str, str]

    @property
    def gateway(self) -> str:
        return self.env["BANYAN_GATEWAY_URL"]

    @property
    def backoffice(self) -> dict[str, str]:
        return {"X-Api-Key": self.env["LEGACY_BACKOFFICE_KEY"]}

    def banyan(self, *arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        return banyan(self.home, *arguments, timeout=timeout, check=check)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.gateway, headers=self.backoffice, timeout=10)


def start_stack(home: Path, *arguments: str) -> Stack:
    banyan(
        home,
        "up",
        "--detach",
        "--gateway-port",
        str(free_port()),
        "--console-port",
        str(free_port()),
        *arguments,
        timeout=300,
    )
    return Stack(home, read_env_file(Home(home)))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that the tests of this folder share; each test leaves every domain where it found it."""
    home = tmp_path_factory.mktemp("stack") / "home"
    try:
        yield start_stack(home, "--agents", "1")
    finally:
        banyan(home, "down", check=False)
