"""Parent, workers and admin process: who is started again, and how they all end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx

from tests.integration.gateway.running import Start, alive, first, ready
from tests.integration.gateway.stage import until
from tests.integration.gateway.upstream import Upstream


async def test_a_worker_that_dies_is_started_again_with_the_newest_table(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides)))
    await asyncio.to_thread(gateway.admin().patch_domain, "shop", 1, "ann", "go", phase="shadow")
    worker = next(
        pid for pid in gateway.children() if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    )
    os.kill(worker, signal.SIGKILL)

    async def serves_again() -> bool:
        with contextlib.suppress(httpx.TransportError):
            answer = await asyncio.to_thread(httpx.get, f"{gateway.url}/items")
            return answer.headers["banyan-route"].endswith("version=2")
        return False

    await until(lambda: not alive(worker))
    await until(serves_again, within=15)


async def test_sigterm_finishes_what_is_under_way_and_leaves_nothing_running(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_WORKERS="2"))
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow(seen: Any, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await finish.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    sides[0].handler = slow
    children = gateway.children()
    assert len(children) == 3
    async with httpx.AsyncClient(timeout=10) as client:
        request = asyncio.create_task(client.get(f"{gateway.url}/items"))
        await begun.wait()
        gateway.process.send_signal(signal.SIGTERM)
        host, _, port = gateway.addresses["listen"].partition(":")

        def refuses() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) != 0

        await until(refuses)
        finish.set()
        answer = await request
    assert (answer.status_code, answer.text) == (200, "done")
    assert await asyncio.to_thread(gateway.process.wait, 15) == 0
    assert not [pid for pid in children if alive(pid)]


async def test_children_end_when_their_parent_is_killed(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides)))
    children = gateway.children()
    gateway.process.kill()
    await asyncio.to_thread(gateway.process.wait, 5)
    await until(lambda: not [pid for pid in children if alive(pid)], within=10)
