"""`GET /v1/tail` and `banyan gateway tail`: live decisions of real gateways, and what listening costs nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control import link
from gateway.control.client import AdminClient
from gateway.settings import Settings
from tests.integration.gateway.running import TOKEN, Running, Start, first, ready
from tests.integration.gateway.stage import Stage, until
from tests.integration.gateway.upstream import Upstream, answering

VIEWER = "a-viewers-token-for-tests"


@pytest.fixture
async def gateway(tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start) -> Running:
    """Two workers without an access log."""
    table = first(tmp_path, sides)
    return await ready(
        starting(
            GATEWAY_TABLE=table, GATEWAY_WORKERS="2", GATEWAY_LOG_SAMPLE="0", GATEWAY_VIEWER_TOKEN=VIEWER,
            GATEWAY_DRAIN_SECONDS="1",
        )
    )  # fmt: skip


class Heard:
    """What one who listens has got, up to now."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "event" not in line]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == name]


@contextlib.asynccontextmanager
async def listening(gateway: Running, workers: int = 2, **filters: Any) -> AsyncIterator[Heard]:
    heard = Heard()
    headers = {"Authorization": f"Bearer {VIEWER}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.addresses['admin']}", headers=headers) as client:

        async def listen() -> None:
            async with client.stream("GET", "/v1/tail", params=filters) as answer:
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("application/x-ndjson")
                async for line in answer.aiter_lines():
                    heard.lines.append(json.loads(line))

        task = asyncio.create_task(listen())
        await until(lambda: len(heard.events("listening")) == workers or task.done())
        yield heard
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def observers(gateway: Running, workers: int = 2) -> int:
    settings = Settings(state_dir=gateway.folder)
    answers = [await link.ask(settings.socket(index), {"do": "figures"}) for index in range(workers)]
    return sum(answer["observers"] for answer in answers)


async def test_requests_are_told_while_somebody_listens_and_only_then(gateway: Running) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        await client.get("/items/before")
        assert await observers(gateway) == 0
        async with listening(gateway) as heard:
            assert await observers(gateway) == 2
            answer = await client.get("/items/7?secret=1")
            await until(lambda: heard.requests)
        (line,) = heard.requests
        assert (line["method"], line["path"], line["status"], line["operation"]) == (
            "GET",
            "/items/7",
            200,
            "items.get",
        )
        assert (line["domain"], line["side"], line["reason"]) == ("shop", "legacy", "phase")
        assert line["request_id"] == answer.headers["x-request-id"]
        assert "secret" not in json.dumps(heard.lines)

        async def nobody() -> bool:
            return await observers(gateway) == 0

        await until(nobody)


async def test_filters_are_met_at_the_worker(gateway: Running, sides: tuple[Upstream, Upstream]) -> None:
    async with (
        listening(gateway, path="/items/*", method="GET") as items,
        listening(gateway, status="5xx") as failures,
        listening(gateway, domain="default") as others,
        httpx.AsyncClient(base_url=gateway.url) as client,
    ):
        await client.get("/items/1")
        await client.put("/items/2")
        await client.get("/elsewhere")
        sides[0].handler = answering(503)
        await client.post("/items")
        await until(lambda: items.requests and failures.requests and others.requests)
    assert [line["path"] for line in items.requests] == ["/items/1"]
    assert [(line["method"], line["status"]) for line in failures.requests] == [("POST", 503)]
    assert [line["path"] for line in others.requests] == ["/elsewhere"]


async def test_a_worker_that_is_started_again_is_heard_again(gateway: Running) -> None:
    async with listening(gateway) as heard:
        settings = Settings(state_dir=gateway.folder)
        pids = [(await link.ask(settings.socket(index), {"do": "figures"}))["pid"] for index in range(2)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: len(heard.events("listening")) == 4, within=30)
        assert {line["worker"] for line in heard.events("worker away")} == {0, 1}
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            await client.get("/items/again")
        await until(lambda: heard.requests)


async def test_who_does_not_read_costs_lines_and_holds_nobody_up(gateway: Running) -> None:
    address = gateway.addresses["admin"].rpartition(":")
    with socket.create_connection((address[0], int(address[2]))) as deaf:
        deaf.sendall(b"GET /v1/tail HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % VIEWER.encode())

        async def both() -> bool:
            return await observers(gateway) == 2

        await until(both)
        async with httpx.AsyncClient(base_url=gateway.url) as client, listening(gateway) as heard:
            for _ in range(10):
                answers = await asyncio.gather(*(client.get("/items/" + "x" * 2000) for _ in range(40)))
                assert {answer.status_code for answer in answers} == {200}
            await until(lambda: len(heard.requests) + sum(e["count"] for e in heard.events("dropped")) == 400)


async def test_bad_filters_unknown_domains_and_strangers_are_refused(gateway: Running) -> None:
    async with httpx.AsyncClient(base_url=f"http://{gateway.addresses['admin']}") as client:
        assert (await client.get("/v1/tail")).status_code == 401
        client.headers["Authorization"] = f"Bearer {VIEWER}"
        unknown = await client.get("/v1/tail", params={"domain": "nonsense"})
        assert (unknown.status_code, "shop" in unknown.json()["detail"]) == (404, True)
        for name, value in (("status", "9xx"), ("side", "left"), ("path", "x"), ("sample", "7"), ("colour", "red")):
            refused = await client.get("/v1/tail", params={name: value})
            assert (refused.status_code, name in refused.json()["detail"]) == (400, True)
    assert await observers(gateway) == 0


async def test_more_listeners_than_the_node_takes_are_told_so(gateway: Running) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(listening(gateway))
        headers = {"Authorization": f"Bearer {VIEWER}"}
        refused = httpx.get(f"http://{gateway.addresses['admin']}/v1/tail", headers=headers)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)


async def test_a_client_that_leaves_while_a_line_waits_for_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says nothing of it: seen with granian 2.8, a stream that is blocked outlives its connection."""
    from gateway.tail import relay
    from gateway.tail.wanted import Wanted

    monkeypatch.setattr(relay, "STUCK_SECONDS", 0.05)
    monkeypatch.setattr(relay, "ALIVE_SECONDS", 0.02)
    tails = relay.Tails(Settings(state_dir=Path("/nonexistent")))
    lines = tails.tail(Wanted())
    await anext(lines)
    await until(lambda: not tails._open)
    with pytest.raises(StopAsyncIteration):
        await anext(lines)


async def test_without_an_observer_a_request_pays_one_look(stage: Stage) -> None:
    assert stage.gateway.observers == ()
    await stage.client.get("/items/1")
    assert stage.gateway.snapshot()["observers"] == 0


# the command


@pytest.fixture
def tails(gateway: Running, tmp_path: Path) -> Iterator[Any]:
    """Starts `banyan gateway tail …`."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **given: str) -> subprocess.Popen[str]:
        env = {
            **os.environ, "BANYAN_HOME": str(tmp_path), "GATEWAY_VIEWER_TOKEN": VIEWER,
            "BANYAN_GATEWAY_ADMIN_URL": f"http://{gateway.addresses['admin']}", **given,
        }  # fmt: skip
        command = [sys.executable, "-m", "banyan.cli", "gateway", "tail", *arguments]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


async def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = await asyncio.to_thread(process.communicate, None, 60)
    return process.returncode, out, err


async def heard_by(gateway: Running, count: int) -> None:
    async def enough() -> bool:
        return await observers(gateway) == count

    await until(enough, within=30)


async def test_the_command_shows_a_row_for_each_request(gateway: Running, tails: Any) -> None:
    process = tails("--lines", "2", "--domain", "shop")
    await heard_by(gateway, 2)
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        await client.get("/elsewhere")
        await client.get("/items/1?secret=1")
        await client.put("/items/2")
    code, out, err = await ended(process)
    rows = [line.split()[1:] for line in out.splitlines()]
    assert [row[:3] for row in rows] == [["GET", "/items/1", "200"], ["PUT", "/items/2", "200"]]
    assert (code, "\x1b" in out, "2 requests in" in err) == (0, False, True)


async def test_json_is_the_line_of_the_log(gateway: Running, tails: Any) -> None:
    process = tails("--lines", "1", "--json")
    await heard_by(gateway, 2)
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        await client.get("/items/1")
    code, out, _ = await ended(process)
    assert (code, json.loads(out)["operation"]) == (0, "items.get")


async def test_ctrl_c_ends_it_well(gateway: Running, tails: Any) -> None:
    process = tails()
    await heard_by(gateway, 2)
    process.send_signal(signal.SIGINT)
    code, _, err = await ended(process)
    assert (code, err.strip()) == (0, err.strip().splitlines()[-1])
    assert "0 requests in" in err


async def test_silence_is_told_and_ends_when_it_should(gateway: Running, tails: Any) -> None:
    code, out, err = await ended(tails("--seconds", "7", "--errors"))
    assert (code, out) == (0, "")
    assert err.count("no request so far") == 1


async def test_what_cannot_be_shown_is_one_line(gateway: Running, tails: Any, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        cases = [
            (tails("--domain", "nonsense"), 2, "there are shop"),
            (tails("--status", "9xx"), 2, "5xx"),
            (tails("--errors", "--status", "404"), 2, "give one of them"),
            (tails(BANYAN_GATEWAY_ADMIN_URL=away), 1, "does not answer"),
            (tails(GATEWAY_VIEWER_TOKEN="not-a-token-of-this-gateway"), 1, "refused the token"),
            (tails(BANYAN_GATEWAY_ADMIN_URL=""), 1, "BANYAN_GATEWAY_ADMIN_URL is not set"),
        ]
        for process, wanted, words in cases:
            code, out, err = await ended(process)
            assert (code, out) == (wanted, ""), err
            assert words in err
            assert "Traceback" not in err


async def test_an_upgrade_of_the_gateway_is_looked_through(
    gateway: Running, tails: Any, sides: tuple[Upstream, Upstream]
) -> None:
    from tests.integration.gateway.running import run

    process = tails("--lines", "1")
    await heard_by(gateway, 2)
    done = await asyncio.to_thread(run, gateway.folder, "upgrade")
    assert done.returncode == 0, done.stderr

    def requests() -> bool:
        httpx.get(f"{gateway.url}/items/1")
        return process.poll() is not None

    await until(lambda: asyncio.to_thread(requests), within=30)
    code, out, _ = await ended(process)
    assert (code, "/items/1" in out) == (0, True)
    with AdminClient(f"http://{gateway.addresses['admin']}", TOKEN) as admin:
        assert admin.status()["workers"] == 2
