"""The gateway as it runs, parent, workers and admin process, over its real command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.control.client import AdminClient
from gateway.control.table import encode_table
from tests.fixtures import forked
from tests.integration.gateway.stage import first_table, until
from tests.integration.gateway.upstream import Upstream

TOKEN = "a-token-for-tests"


@dataclass
class Running:
    """`python -m gateway serve`."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def addresses(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode((self.folder / "gateway.json").read_bytes())
        return found

    @property
    def url(self) -> str:
        return f"http://{self.addresses['listen']}"

    def admin(self) -> AdminClient:
        return AdminClient(f"http://{self.addresses['admin']}", TOKEN)

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError, httpx.TransportError):
            return httpx.get(f"http://{self.addresses['admin']}/readyz").status_code == 200
        assert self.process.poll() is None, "the gateway ended"
        return False

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


def environment(folder: Path, **given: str) -> dict[str, str]:
    settings = {
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        "GATEWAY_STATE_DIR": str(folder),
        "GATEWAY_ADMIN_TOKEN": TOKEN,
        "GATEWAY_HEALTH_INTERVAL": "0.2",
    }
    return {**os.environ, **settings, **given}


def start(folder: Path, *, take_over: bool = False, **given: str) -> Running:
    command = [sys.executable, "-m", "gateway", "serve", *(["--take-over"] if take_over else [])]
    return Running(subprocess.Popen(command, env=environment(folder, **given)), folder)


def run(folder: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    return forked.run("gateway", *arguments, env=environment(folder, **given), timeout=120)


Start = Callable[..., Running]


async def ready(running: Running) -> Running:
    async def look() -> bool:
        return await asyncio.to_thread(running.is_ready)

    await until(look, within=60)
    return running


def first(tmp_path: Path, sides: tuple[Upstream, Upstream]) -> str:
    path = tmp_path / "first.json"
    path.write_bytes(encode_table(first_table(sides[0].url, sides[1].url)))
    return str(path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
