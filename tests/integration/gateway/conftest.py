"""The fixtures of the gateway's tests: on a stage (in the test's own event loop), or running (as processes)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.integration.gateway.running import Running, Start, start
from tests.integration.gateway.stage import Stage, staged
from tests.integration.gateway.upstream import Upstream


@pytest.fixture(params=[uvloop.EventLoopPolicy()], ids=["uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Start]:
    """Starts gateways, and ends what the test has left running."""
    running: list[Running] = []

    def begin(name: str = "state", *, take_over: bool = False, **given: str) -> Running:
        running.append(start(tmp_path / name, take_over=take_over, **given))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        with contextlib.suppress(OSError):  # who has taken over from it
            os.kill(one.addresses["pid"], signal.SIGKILL)


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Upstream, Upstream]]:
    legacy, service = await Upstream().start(), await Upstream().start()
    yield legacy, service
    await legacy.kill()
    await service.kill()
