"""Each phase of an exchange has its own time, and only the one that is waited for is held to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest

from gateway.control.table import Operation
from gateway.settings import Settings
from tests.integration.gateway.stage import Stage, side, staged
from tests.integration.gateway.upstream import Seen, hang, response


def operation(stage: Stage, name: str, **changes: object) -> None:
    """Publish the next table, with this operation changed."""
    table = stage.gateway.router.table
    domain = table.domains["shop"]
    operations: list[Operation] = [
        msgspec.structs.replace(op, **changes) if op.id == name else op for op in domain.operations
    ]
    changed = msgspec.structs.replace(domain, operations=operations)
    swapped = msgspec.structs.replace(table, version=table.version + 1, domains={"shop": changed})
    assert stage.gateway.swap(swapped.validated())


async def silent_stream(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """As a stream of events that has nothing to tell for a second."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n")
    await asyncio.sleep(1.0)
    writer.write(b"data: 2\n\n")
    writer.close()


async def test_a_stream_that_the_plan_lets_be_silent_is_not_cut() -> None:
    async with staged(read_timeout=0.4) as stage:
        stage.legacy.handler = silent_stream
        operation(stage, "items.list", timeout=5.0)
        assert (await stage.client.get("/items")).content == b"data: 1\n\ndata: 2\n\n"


async def test_an_operation_may_have_less_time_than_the_rest(stage: Stage) -> None:
    stage.legacy.handler = hang
    operation(stage, "items.list", timeout=0.3)
    assert (await stage.client.get("/items")).status_code == 504


async def test_a_try_that_takes_too_long_is_given_up_for_another_one(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(stage.legacy.seen) == 1:
            await hang(seen, writer)
        writer.write(response())

    stage.legacy.handler = handler
    operation(stage, "items.list", try_timeout=0.3)
    assert (await stage.client.get("/items")).status_code == 200
    assert len(stage.legacy.seen) == 2


async def test_a_try_of_the_service_that_takes_too_long_falls_back_to_legacy(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    operation(stage, "items.list", try_timeout=0.3)
    stage.service.handler = hang
    answer = await stage.client.get("/items")
    assert (answer.status_code, side(answer)) == (200, "legacy")


async def test_a_write_that_is_still_being_worked_on_is_sent_again_only_if_the_plan_says_that_it_may(
    stage: Stage,
) -> None:
    """Else the first one may be carried out after what the client writes next, and undo it."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(stage.legacy.seen) == 1:
            await hang(seen, writer)
        writer.write(response())

    stage.legacy.handler = handler
    operation(stage, "items.put", idempotent="key", try_timeout=0.2, timeout=0.8)
    assert (await stage.client.put("/items/1", content=b"v1")).status_code == 504
    assert len(stage.legacy.seen) == 1
    stage.legacy.seen.clear()
    answer = await stage.client.put("/items/1", content=b"v2", headers={"Idempotency-Key": "2"})
    assert (answer.status_code, len(stage.legacy.seen)) == (200, 2)


async def test_a_slow_upload_is_not_held_against_its_server() -> None:
    """Slower than the read timeout and the total, and the client leaves in the middle."""
    async with staged(read_timeout=0.3, total_timeout=0.4, slow_rate=1, breaker_failures=1) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert stage.gateway.breaker("shop", "legacy", read=False).closed
        writer.close()


async def test_a_server_that_does_not_take_an_upload_is_given_up() -> None:
    async with staged(read_timeout=1.0, slow_timeout=30) as stage:
        stop = asyncio.Event()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await stop.wait()
            writer.close()

        server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
        stage.gateway.pools["legacy"].endpoints[0].port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        size = 20_000_000
        writer.write(b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        async with asyncio.timeout(15):
            line = await reader.readline()
        assert line.startswith(b"HTTP/1.1 504"), line
        writer.close()
        stop.set()
        server.close()


@pytest.mark.parametrize("name", ["queue_timeout", "write_timeout", "total_timeout"])
def test_every_phase_has_a_setting(name: str) -> None:
    assert getattr(replace(Settings(), **{name: 1.5}), name) == 1.5
