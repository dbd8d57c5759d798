"""A base URL to speak to: the one that the environment names, or a real gunicorn over a fresh database.

`CHARACTERIZATION_BASE_URL` points the black-box tests at anything that claims to keep the monolith's contract, with
`CHARACTERIZATION_BACKOFFICE_KEY`, and optionally `CHARACTERIZATION_CUSTOMER_EMAIL` and `…_PASSWORD` of a customer.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from legacy_monolith.app import create_app
from legacy_monolith.migrate import migrate
from legacy_monolith.settings import Settings
from legacy_monolith.tests.world import World
from tests.fixtures.servers import database_like

BACKOFFICE_KEY = "key-of-the-tests"
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("CHARACTERIZATION_BASE_URL"):
        yield given.rstrip("/")
        return
    postgres = request.getfixturevalue("postgres")
    dsn = database_like(postgres, "legacy", migrate)
    log = tmp_path_factory.mktemp("legacy") / "log"
    with socket.socket() as listener, log.open("wb") as output:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--config", "python:legacy_monolith.gunicorn_conf"),
                *("--bind", f"fd://{listener.fileno()}", "legacy_monolith.wsgi:app"),
            ],
            cwd=_ROOT,
            env={
                **os.environ,
                "LEGACY_DATABASE_URL": dsn,
                "LEGACY_SECRET_KEY": secrets.token_hex(16),
                "LEGACY_BACKOFFICE_KEY": BACKOFFICE_KEY,
            },
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            _wait_healthy(url, server, log)
            yield url
        finally:
            server.terminate()
            server.wait(20)


def _wait_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if server.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the monolith did not come up:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def anyone(base_url: str) -> Iterator[httpx.Client]:
    """A client without credentials."""
    with httpx.Client(base_url=base_url, timeout=15) as client:
        yield client


@pytest.fixture(scope="session")
def backoffice(base_url: str) -> Iterator[httpx.Client]:
    key = os.environ.get("CHARACTERIZATION_BACKOFFICE_KEY", BACKOFFICE_KEY)
    with httpx.Client(base_url=base_url, timeout=15, headers={"X-Api-Key": key}) as client:
        yield client


@pytest.fixture(scope="session")
def world(backoffice: httpx.Client) -> Iterator[World]:
    made = World(backoffice)
    yield made
    made.close()


@pytest.fixture
def legacy_database(postgres: Any) -> str:
    """The DSN of a fresh database with the monolith's tables."""
    return database_like(postgres, "legacy", migrate)


@pytest.fixture
def make_app(legacy_database: str) -> Iterator[Callable[..., object]]:
    """Makes the application over `legacy_database`, in this process."""
    made = []

    def make(**settings):
        app = create_app(
            Settings(
                **{
                    "database_url": legacy_database,
                    "secret_key": "secret",
                    "backoffice_key": BACKOFFICE_KEY,
                    **settings,
                }
            )
        )
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["engine"].dispose()
