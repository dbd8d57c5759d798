"""The real things: a service under granian, the monolith under gunicorn, each over a fresh database."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from banyan.servers import Postgres
from banyan.servers.ports import free_port
from services.chassis.migrate import migrate
from tests.fixtures.servers import database_like

ROOT = Path(__file__).parents[3]
SECRET = "the-secret-of-the-tests"
KEY = "the-key-of-the-tests"
BACK_OFFICE = {"X-Api-Key": KEY}
# As the stack serves it: watchers of commands come over WebSockets, and thousands of devices wait.
SERVED = {"devices": ("--backlog", "4096", "--backpressure", "25000")}


def migrate_service(dsn: str, service: str) -> None:
    """Its tables, and the grants of its role if there is one by now."""
    migrate(service, ROOT / "services" / service / "migrations", {f"{service.upper()}_OWNER_DATABASE_URL": dsn})


def migrated(server: Postgres, service: str) -> str:
    """A fresh database with the tables of `service`."""
    return database_like(server, service, lambda dsn: migrate_service(dsn, service))


def monolith_database(server: Postgres) -> str:
    """A fresh database with the monolith's tables."""
    return database_like(server, "legacy", importlib.import_module("legacy_monolith.migrate").migrate)


def environment(service: str, dsn: str, **more: str) -> dict[str, str]:
    own = {f"{service.upper()}_DATABASE_URL": dsn, "LEGACY_SECRET_KEY": SECRET, "LEGACY_BACKOFFICE_KEY": KEY}
    return {**os.environ, **own, **more}


@contextlib.contextmanager
def running_service(service: str, dsn: str, log: Path, **more: str) -> Iterator[str]:
    """A service under granian; gives its base URL once it is ready."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)),
        *(SERVED.get(service, ("--no-ws",))),
        f"services.{service}.app:app",
    ]
    with process(command, environment(service, dsn, **more), log, f"http://127.0.0.1:{port}", "/readyz") as url:
        yield url


@contextlib.contextmanager
def running_monolith(dsn: str, log: Path, **more: str) -> Iterator[str]:
    """The monolith under gunicorn, over a `monolith_database`; gives its base URL once it is healthy."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        command = [
            *(sys.executable, "-m", "gunicorn", "--config", "python:legacy_monolith.gunicorn_conf"),
            *("--bind", f"fd://{listener.fileno()}", "legacy_monolith.wsgi:app"),
        ]
        own = {"LEGACY_DATABASE_URL": dsn, "LEGACY_SECRET_KEY": SECRET, "LEGACY_BACKOFFICE_KEY": KEY, **more}
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with process(command, {**os.environ, **own}, log, url, "/health", listener.fileno()) as ready:
            yield ready


@contextlib.contextmanager
def process(command: list[str], env: dict[str, str], log: Path, url: str, health: str, *fds: int) -> Iterator[str]:
    with log.open("wb") as output:
        child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output, pass_fds=fds)
    try:
        _wait(child, f"{url}{health}", log)
        yield url
    finally:
        child.terminate()
        child.wait(20)


def _wait(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        if child.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"{url} did not come up:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)
