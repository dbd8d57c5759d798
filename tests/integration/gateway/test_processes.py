"""The gateway as it runs: parent, workers and admin process, over their real command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis

from banyan.servers import Redis
from banyan.servers.ports import free_port
from gateway.control.client import AdminClient
from gateway.control.table import encode_table
from gateway.errors import AdminRefused, AdminUnauthorized, VersionConflict
from tests.integration.gateway.conftest import first_table, until
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


def start(folder: Path, **given: str) -> Running:
    command = [sys.executable, "-m", "gateway", "serve"]
    return Running(subprocess.Popen(command, env=environment(folder, **given)), folder)


Start = Callable[..., Running]


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Start]:
    """Starts gateways, and ends what the test has left running."""
    running: list[Running] = []

    def begin(name: str = "state", **given: str) -> Running:
        running.append(start(tmp_path / name, **given))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Upstream, Upstream]]:
    legacy, service = await Upstream().start(), await Upstream().start()
    yield legacy, service
    await legacy.kill()
    await service.kill()


async def ready(running: Running) -> Running:
    async def look() -> bool:
        return await asyncio.to_thread(running.is_ready)

    await until(look, within=30)
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


async def test_a_change_is_live_on_all_workers_when_the_answer_comes(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_WORKERS="2"))
    admin = gateway.admin()

    def journey() -> None:
        applied = admin.patch_domain("shop", 1, "ann", "try it", phase="service", owner="service", epoch=1)
        assert (applied.version, applied.applied, applied.total) == (2, 2, 2)
        for _ in range(10):
            with httpx.Client(base_url=gateway.url) as client:  # a new connection each time: both workers get some
                assert "side=service; reason=phase; version=2" in client.get("/items").headers["banyan-route"]
        with pytest.raises(VersionConflict) as conflict:
            admin.patch_domain("shop", 1, "bob", "too late", hold=True)
        assert conflict.value.current == 2
        with pytest.raises(AdminRefused, match="canary_percent 400"):
            admin.patch_domain("shop", 2, "bob", "typo", canary_percent=400)
        with pytest.raises(AdminRefused, match="canarry"):
            admin.patch_domain("shop", 2, "bob", "typo", phase="canarry")
        with pytest.raises(AdminRefused, match="unknown domain 'shoes'"):
            admin.patch_domain("shoes", 2, "bob", "typo", hold=True)
        assert admin.table().version == 2, "what was refused has changed nothing"
        applied = admin.put_table(first_table(sides[0].url, sides[1].url), 2, "ann", "back")
        assert (applied.version, admin.table().domains["shop"].waves[0].phase) == (3, "legacy")
        entries = admin.audit()
        assert [(entry["actor"], entry["reason"]) for entry in entries] == [("ann", "try it"), ("ann", "back")]
        assert entries[0]["after"]["domains"]["shop"]["waves"][0]["owner"] == "service"
        told = admin.status()
        assert (told["version"], told["workers"]) == (3, 2)
        assert told["domains"]["shop"]["requests"]["service"]["total"] == 10
        assert told["domains"]["shop"]["breakers"] == {"legacy": "closed", "service": "closed"}
        metrics = httpx.get(f"http://{gateway.addresses['admin']}/metrics").text
        line = 'banyan_gateway_requests_total{domain="shop",operation="items.list",outcome="2xx",side="service"} 10.0'
        assert line in metrics

    await asyncio.to_thread(journey)
    assert await asyncio.to_thread(gateway.stop) == 0


async def test_the_admin_api_is_closed_to_strangers(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides)))
    url = f"http://{gateway.addresses['admin']}"

    def knock() -> None:
        with pytest.raises(AdminUnauthorized):
            AdminClient(url, "a-wrong-token-for-tests").table()
        assert httpx.get(f"{url}/v1/status").headers["content-type"] == "application/problem+json"
        token = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.patch(f"{url}/v1/domains/shop", headers=token, json={}).status_code == 400, "who?"
        actor = token | {"Banyan-Actor": "ann"}
        assert httpx.patch(f"{url}/v1/domains/shop", headers=actor, json={}).status_code == 428, "which version?"
        bad = httpx.put(f"{url}/v1/table", headers=actor | {"If-Match": '"1"'}, content=b"{not json")
        assert (bad.status_code, bad.headers["content-type"]) == (422, "application/problem+json")

    await asyncio.to_thread(knock)


async def test_the_gateway_starts_with_redis_down_from_the_last_known_good_table(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    dead_redis = f"redis://127.0.0.1:{free_port()}/0"
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_REDIS_URL=dead_redis))
    applied = await asyncio.to_thread(
        gateway.admin().patch_domain, "shop", 1, "ann", "go", phase="service", owner="service"
    )
    assert applied.everywhere
    assert await asyncio.to_thread(gateway.stop) == 0
    again = await ready(starting(GATEWAY_REDIS_URL=dead_redis))
    answer = await asyncio.to_thread(httpx.get, f"{again.url}/items")
    assert answer.headers["banyan-route"] == "domain=shop; side=service; reason=phase; version=2"


async def test_nodes_follow_each_other_over_redis(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start, redis_server: Redis
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.delete("banyan:table")
    table = first(tmp_path, sides)
    one = starting("one", GATEWAY_TABLE=table, GATEWAY_REDIS_URL=redis_server.url)
    other = starting("other", GATEWAY_TABLE=table, GATEWAY_REDIS_URL=redis_server.url)
    await ready(one)
    await ready(other)
    await asyncio.to_thread(one.admin().patch_domain, "shop", 1, "ann", "go", phase="service", owner="service")

    async def followed() -> bool:
        return (await asyncio.to_thread(httpx.get, f"{other.url}/items")).headers["banyan-route"].endswith("version=2")

    await until(followed)
    with pytest.raises(VersionConflict):
        await asyncio.to_thread(other.admin().patch_domain, "shop", 1, "bob", "late", hold=True)


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


def run(folder: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, env=environment(folder, **given), capture_output=True, text=True, timeout=30)


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path, first_table_file: Callable[[str, str], Path]) -> None:
    table = first_table_file("http://127.0.0.1:1", "http://127.0.0.1:2")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for name in ("GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"):
            done = run(tmp_path / "state", "serve", **{"GATEWAY_TABLE": str(table), name: address})
            assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
            assert f"cannot listen on {address}" in done.stderr
            assert name in done.stderr


def test_a_bad_table_is_told_in_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"version":1,"upstreams":{},"colour":"red"}')
    for arguments in (("serve",), ("explain", "GET", "/", "--table", str(bad))):
        done = run(tmp_path / "state", *arguments, GATEWAY_TABLE=str(bad))
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
        assert "unknown field `colour`" in done.stderr


def test_explain_answers_off_line(tmp_path: Path, first_table_file: Callable[[str, str], Path]) -> None:
    table = first_table_file("http://127.0.0.1:1", "http://127.0.0.1:2")
    began = time.monotonic()
    done = run(tmp_path, "explain", "GET", "/items/5", "--table", str(table), "--key", "42")
    assert done.returncode == 0, done.stderr
    assert "side: legacy\nreason: phase\n" in done.stdout
    assert "operation: items.get (read) of domain shop" in done.stdout
    assert time.monotonic() - began < 20
