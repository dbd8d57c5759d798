"""A gateway's workers between two servers, as processes, for benchmarks that look at what is kept and what leaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from banyan.errors import ServerFailed
from banyan.servers.ports import free_port
from gateway.control import link
from gateway.listening import bound_socket
from gateway.settings import Address, Settings

OPERATIONS = [
    {"id": "items.list", "method": "GET", "path": "/items", "kind": "read", "key": ["header:x-id"]},
    {"id": "items.add", "method": "POST", "path": "/items", "kind": "write", "key": ["header:x-id"]},
    {"id": "items.put", "method": "PUT", "path": "/items/{id}", "kind": "write", "key": ["header:x-id"]},
    {"id": "orders.add", "method": "POST", "path": "/orders", "kind": "write", "idempotent": "key"},
]


@dataclass
class Rig:
    """`workers` share one port; each is asked for its figures over its control socket."""

    port: int
    state: Path
    workers: list[subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def figures(self) -> list[dict[str, Any]]:
        return asyncio.run(self.ask())

    async def ask(self) -> list[dict[str, Any]]:
        settings = Settings(state_dir=self.state)
        sockets = [settings.socket(index) for index in range(len(self.workers))]
        return [await link.ask(path, {"do": "figures"}, within=10) for path in sockets]

    def resident_mb(self) -> float:
        """Of all workers together."""
        return sum(resident_mb(worker.pid) for worker in self.workers)

    def descriptors(self) -> int:
        return sum(len(list(Path(f"/proc/{worker.pid}/fd").iterdir())) for worker in self.workers)

    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(worker.pid) for worker in self.workers)


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(module: str, *arguments: str, before: Sequence[str] = ()) -> Iterator[int]:
    """The port of `python -m module PORT`, which prints it when it is ready and ends with its standard input.

    `before`: words before the command, `chrt --idle 0` for one.
    """
    command = [*before, sys.executable, "-m", module, "0", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ServerFailed(f"{module} did not start")
        yield int(line)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def rig(
    folder: Path,
    legacy: int,
    service: int,
    *,
    workers: int = 1,
    table: dict[str, Any] | None = None,
    before: Sequence[str] = (),
    **settings: str,
) -> Iterator[Rig]:
    """`legacy` and `service`: ports. `table`: what a domain has besides its service and operations. `before`: words
    before a worker's command.
    """
    wave = {"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "canary", "canary_percent": 50}
    domain = {"service": "shop", "waves": [wave], "operations": OPERATIONS, **(table or {})}
    upstreams = {
        name: {"urls": [f"http://127.0.0.1:{port}"], "health": "/health"}
        for name, port in (("legacy", legacy), ("shop", service))
    }
    path = folder / "table.json"
    path.write_text(json.dumps({"version": 1, "upstreams": upstreams, "domains": {"shop": domain}}))
    port = free_port()
    state = folder / "state"
    state.mkdir(exist_ok=True)
    environment = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}", "GATEWAY_STATE_DIR": str(state), "GATEWAY_TABLE": str(path),
        "GATEWAY_ADMIN_TOKEN": os.urandom(16).hex(), "GATEWAY_LOG_SAMPLE": "0", **settings,
    }  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "gateway.log").open("ab") as log:
            for index in range(workers):
                with bound_socket(Address("127.0.0.1", port)) as sock:
                    fd = sock.fileno()
                    command = [*before, sys.executable, "-m", "gateway", "worker", f"--index={index}", f"--plain={fd}"]
                    started.append(
                        subprocess.Popen(
                            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**os.environ, **environment},
                            pass_fds=[fd],
                        )
                    )  # fmt: skip
        made = Rig(port, state, started)
        _wait(made, folder)
        yield made
    finally:
        for worker in started:
            worker.kill()
            worker.wait()


def _wait(made: Rig, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(link.LinkDown, OSError):
            if made.figures():
                socket.create_connection(("127.0.0.1", made.port), 1).close()
                return
        if time.monotonic() > deadline or any(worker.poll() is not None for worker in made.workers):
            tail = (folder / "gateway.log").read_text(errors="replace").strip().splitlines()[-3:]
            raise ServerFailed(f"the gateway did not become ready: {' / '.join(tail) or 'it said nothing'}")
        time.sleep(0.05)


def pins() -> tuple[list[str], list[str]]:
    """(measured one's, everybody else's) command prefixes that keep them on cores of their own."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    taskset = shutil.which("taskset")
    if taskset is None or len(cores) < 2:
        return [], []
    return [taskset, "-c", str(cores[0])], [taskset, "-c", str(cores[1])]


def files_allowed(wanted: int) -> int:
    """Raise this process's (and its children's) limit of open files as far as it may go; what it is then."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
