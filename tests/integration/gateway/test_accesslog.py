"""The access log: one JSON line for each request, with what was decided, and never what is private."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from gateway.accesslog import AccessLog
from gateway.routing.bucket import bucket
from tests.integration.gateway.running import Start, first, ready
from tests.integration.gateway.stage import Stage, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, Upstream, answering

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Written:
    """A log in memory."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.splitlines()]


@contextlib.asynccontextmanager
async def logged(sample: float = 1.0) -> AsyncIterator[tuple[Stage, Written]]:
    written = Written()
    async with staged() as stage:
        stage.gateway.log = AccessLog(sample, written.write)
        yield stage, written


async def test_a_line_tells_decision_server_attempts_bytes_and_times() -> None:
    async with logged() as (stage, written):
        stage.legacy.handler = answering(body=b"x" * 100)
        answer = await stage.client.put("/items/7?secret=1", content=b"12345", headers={"X-Client": "ann"})
        await until(lambda: written.entries)
    (entry,) = written.entries
    assert entry["method"] == "PUT"
    assert entry["path"] == "/items/7"
    assert entry["status"] == 200
    assert (entry["domain"], entry["operation"], entry["side"], entry["reason"]) == (
        "shop", "items.put", "legacy", "owner",
    )  # fmt: skip
    assert entry["upstream"] == f"127.0.0.1:{stage.legacy.port}"
    assert (entry["attempts"], entry["bytes_in"]) == (1, 5)
    assert entry["bytes_out"] > 100
    assert 0 <= entry["upstream_ms"] <= entry["ms"]
    assert entry["waited_ms"] == 0
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert len(entry["trace_id"]) == 32
    sent = stage.legacy.seen[0].headers["traceparent"]
    assert sent.split("-")[1] == entry["trace_id"]
    assert "secret" not in written.data.decode()


async def test_the_bucket_is_told_where_it_decided_and_the_key_never_is() -> None:
    async with logged() as (stage, written):
        stage.wave(phase="canary", canary_percent=50)
        await stage.client.get("/items", headers={"X-Client": "customer-4711"})
        await until(lambda: written.entries)
    assert written.entries[0]["bucket"] == bucket("customer-4711")
    assert b"4711" not in written.data


async def test_a_second_attempt_and_the_waiting_are_told_apart_from_the_answer() -> None:
    async with logged() as (stage, written):
        refused = 0

        async def flaky(seen: Seen, writer: asyncio.StreamWriter) -> None:
            nonlocal refused
            refused += 1
            if refused < 3:
                raise HangUp
            await answering()(seen, writer)

        stage.legacy.handler = flaky
        assert (await stage.client.get("/items")).status_code == 200
        await until(lambda: written.entries)
    (entry,) = written.entries
    assert entry["attempts"] == 3
    assert entry["waited_ms"] > 0
    assert entry["waited_ms"] + entry["upstream_ms"] <= entry["ms"] + 0.02


async def test_what_a_client_sends_cannot_break_a_line() -> None:
    async with logged() as (stage, written):
        head = b'GET /a"b HTTP/1.1\r\nHost: x\r\nX-Request-Id: "},{\\\r\nTraceparent: 00-%b-00f067aa0ba902b7-01\r\n'
        await stage.raw(head % TRACE.encode() + b"Connection: close\r\n\r\n")
        await until(lambda: written.entries)
    (entry,) = written.entries
    assert entry["request_id"] == '"},{\\'
    assert entry["path"] == '/a"b'
    assert entry["trace_id"] == TRACE


async def test_a_trace_id_that_is_none_is_replaced() -> None:
    async with logged() as (stage, written):
        await stage.client.get("/items", headers={"traceparent": '00-"}"}"}-1-01'})
        await until(lambda: written.entries)
    assert len(bytes.fromhex(written.entries[0]["trace_id"])) == 16


async def test_failures_are_kept_when_the_rest_is_sampled_away() -> None:
    async with logged(sample=0) as (stage, written):
        await stage.client.get("/items")
        stage.legacy.handler = answering(500)
        await stage.client.get("/items")
        await until(lambda: written.entries)
    assert [entry["status"] for entry in written.entries] == [500]


async def test_after_sighup_the_log_goes_on_in_a_new_file(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    path = tmp_path / "access.log"
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_ACCESS_LOG=str(path)))
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        await client.get("/items/before")
        await until(lambda: b"/items/before" in path.read_bytes())
        moved = path.rename(tmp_path / "access.log.1")
        gateway.process.send_signal(signal.SIGHUP)
        await until(path.exists)
        await client.get("/items/after")
        await until(lambda: b"/items/after" in path.read_bytes())
    assert b"/items/after" not in moved.read_bytes()
    assert gateway.process.poll() is None


def test_a_file_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    from tests.integration.gateway.running import run

    table = tmp_path / "missing" / "access.log"
    done = run(tmp_path / "state", "serve", GATEWAY_ACCESS_LOG=str(table), GATEWAY_TABLE=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "GATEWAY_ACCESS_LOG" in done.stderr
    assert "Traceback" not in done.stderr
