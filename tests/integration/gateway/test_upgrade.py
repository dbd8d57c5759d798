"""A gateway is replaced while it serves, and ended while it serves: no client sees a request fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from gateway.children import LONGEST_BACKOFF, backoff_after
from gateway.settings import from_environment
from tests.integration.gateway.running import Running, Start, alive, environment, first, ready, run
from tests.integration.gateway.stage import until
from tests.integration.gateway.upstream import Upstream, answering

pytestmark = pytest.mark.long  # gateways that replace each other under load

CLIENTS = 12
QUIET = {"GATEWAY_LOG_SAMPLE": "0"}
PACE = 0.01  # seconds between two requests of a client, which leave the machine time for the processes that start


@dataclass
class Load:
    """Clients of a steady load: half keep their connection while they may, half make a new one for each request."""

    url: str
    done: int = 0
    failed: list[str] = field(default_factory=list)
    _stop: bool = False

    async def one(self, *, keep: bool) -> None:
        host, _, port = self.url.removeprefix("http://").partition(":")
        head = (
            f"GET /items HTTP/1.1\r\nHost: x\r\n{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n".encode()
        )
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stop:
            try:
                if streams is None:
                    streams = await asyncio.open_connection(host, int(port))
                reader, writer = streams
                writer.write(head)
                async with asyncio.timeout(20):
                    answer = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(2)
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.failed.append(answer.split(b"\r\n")[0].decode())
                self.done += 1
                await asyncio.sleep(PACE)
                if b"connection: close" in answer.lower():
                    writer.close()
                    streams = None
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(repr(error))
                streams = None
        if streams is not None:
            streams[1].close()

    async def more(self, count: int = 300) -> None:
        """Wait until so many more requests have been answered."""
        goal = self.done + count
        await until(lambda: self.done >= goal, within=30)


@contextlib.asynccontextmanager
async def loaded(url: str) -> AsyncIterator[Load]:
    load = Load(url)
    tasks = [asyncio.create_task(load.one(keep=number % 2 == 0)) for number in range(CLIENTS)]
    try:
        yield load
    finally:
        load._stop = True
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def upgraded(gateway: Running) -> Running:
    """The successor, when the old one has ended."""
    old = gateway.addresses["pid"]
    done = await asyncio.to_thread(run, gateway.folder, "upgrade")
    assert done.returncode == 0, done.stderr
    assert gateway.addresses["pid"] != old
    assert await asyncio.to_thread(gateway.process.wait, 30) == 0
    return gateway


async def end(gateway: Running) -> None:
    pid = gateway.addresses["pid"]
    os.kill(pid, signal.SIGTERM)
    await until(lambda: not alive(pid), within=20)


async def test_an_upgrade_under_load_fails_no_request_and_keeps_addresses_and_table(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    sides[0].handler = answering()
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_WORKERS="2", **QUIET))
    before = gateway.addresses
    await asyncio.to_thread(gateway.admin().patch_domain, "shop", 1, "ann", "go", phase="shadow")
    async with loaded(gateway.url) as load:
        await load.more()
        await upgraded(gateway)
        await load.more()
    try:
        assert load.failed == []
        after = gateway.addresses
        assert (after["listen"], after["admin"]) == (before["listen"], before["admin"])
        assert (await asyncio.to_thread(gateway.admin().table)).version == 2
        await asyncio.to_thread(gateway.admin().patch_domain, "shop", 2, "ann", "go on", phase="legacy")
        async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:

            async def newest() -> bool:
                return (await client.get("/items")).headers["banyan-route"].endswith("version=3")

            await until(newest, within=20)
    finally:
        await end(gateway)


async def test_a_request_under_way_is_finished_by_the_gateway_that_began_it(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow(seen: object, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await finish.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    sides[0].handler = slow
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), **QUIET))
    old = gateway.process
    async with httpx.AsyncClient(timeout=30) as client:
        request = asyncio.create_task(client.get(f"{gateway.url}/items"))
        await begun.wait()
        assert (await asyncio.to_thread(run, gateway.folder, "upgrade")).returncode == 0
        assert old.poll() is None
        finish.set()
        assert (await request).text == "done"
    assert await asyncio.to_thread(old.wait, 20) == 0
    await end(gateway)


async def test_more_and_fewer_workers_take_over_the_same_ports(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    table = first(tmp_path, sides)
    gateway = await ready(starting(GATEWAY_TABLE=table, GATEWAY_WORKERS="2", **QUIET))
    given = {"GATEWAY_LISTEN": gateway.addresses["listen"], "GATEWAY_ADMIN_LISTEN": gateway.addresses["admin"]}
    async with loaded(gateway.url) as load:
        for workers in ("1", "3"):
            old = gateway.addresses["pid"]
            fresh = starting(take_over=True, GATEWAY_WORKERS=workers, **given, **QUIET)
            await until(lambda old=old: gateway.addresses["pid"] != old, within=60)
            await until(lambda old=old: not alive(old), within=20)
            await load.more(100)
        assert len(fresh.children()) == 4
    assert load.failed == []


async def test_a_new_gateway_that_cannot_start_leaves_the_old_one_serving(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), **QUIET))
    pid = gateway.addresses["pid"]
    async with loaded(gateway.url) as load:
        (gateway.folder / "table.json").write_text("{}")  # what the new workers would start from
        (tmp_path / "first.json").unlink()
        done = await asyncio.to_thread(run, gateway.folder, "upgrade")
        await load.more(100)
    assert done.returncode == 1
    assert "did not get ready" in done.stderr
    assert "Traceback" not in done.stderr
    assert load.failed == []
    assert gateway.addresses["pid"] == pid
    assert (await asyncio.to_thread(gateway.admin().table)).version == 1


async def test_take_over_without_a_running_gateway_is_one_clear_line(tmp_path: Path) -> None:
    for arguments in (("serve", "--take-over"), ("upgrade",), ("reload",)):
        done = await asyncio.to_thread(run, tmp_path / "state", *arguments)
        assert done.returncode == 1
        assert "no gateway runs" in done.stderr
        assert len(done.stderr.splitlines()) == 1


async def test_sigterm_under_load_answers_every_request_that_was_taken(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    """Whoever is connected gets an answer, the last one with Connection: close; new ones are refused by the kernel."""
    sides[0].handler = answering()
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_WORKERS="2", **QUIET))
    load = Load(gateway.url)
    tasks = [asyncio.create_task(load.one(keep=True)) for _ in range(CLIENTS)]
    await load.more()
    gateway.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.process.wait, 20) == 0
    load._stop = True
    await asyncio.gather(*tasks)
    assert {failure.partition("(")[0] for failure in load.failed} <= {"ConnectionRefusedError"}


def test_a_crash_loop_is_slowed_down() -> None:
    waits = [backoff_after(deaths) for deaths in range(12)]
    assert waits[:4] == [0.0, 0.2, 0.4, 0.8]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_BACKOFF


def test_settings_of_this_gateway_are_those_of_the_next(tmp_path: Path) -> None:
    given = environment(tmp_path)
    assert from_environment(given).socket(0) != from_environment({**given, "GATEWAY_GENERATION": "1"}).socket(0)
