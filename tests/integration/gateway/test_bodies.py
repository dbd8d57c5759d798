"""Bodies arrive whole, however they are framed and however large they are."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from load.bench.wire import read_answer
from tests.integration.gateway.stage import Stage, staged, until
from tests.integration.gateway.upstream import HangUp, Seen


async def test_a_body_with_a_length_and_a_chunked_body_arrive_whole(stage: Stage) -> None:
    answer = await stage.client.post("/items", content=b"0123456789" * 1000)
    assert answer.content == b"0123456789" * 1000

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(50):
            yield b"abc" * 100
            await asyncio.sleep(0)

    answer = await stage.client.post("/items", content=pieces())
    assert answer.content == b"abc" * 5000
    assert stage.legacy.seen[1].headers["transfer-encoding"] == "chunked"


TINY = b"POST /items HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000


@pytest.mark.parametrize("ends", [True, False], ids=["then the client ends", "then it waits"])
async def test_thousands_of_tiny_chunks_are_taken_in_turns_and_arrive_whole(stage: Stage, ends: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    for _ in range(2):
        writer.write(TINY + b"0\r\n\r\n")
    if ends:
        writer.write_eof()
    async with asyncio.timeout(10):
        for _ in range(2):
            answer = await read_answer(reader, "POST")
            assert (answer.status, answer.body) == (200, b"x" * 20_000)
    writer.close()


async def test_tiny_chunks_that_have_no_end_end_with_their_client(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"GET /items HTTP/1.1\r\nHost: a\r\n\r\n" + TINY)  # behind another one: read before their turn
    writer.write_eof()
    async with asyncio.timeout(10):
        assert (await read_answer(reader, "GET")).status == 200
        assert await reader.read() == b""
    await until(lambda: not stage.gateway.clients and not stage.gateway.active)


async def test_an_answer_before_the_end_of_tiny_chunks_arrives(stage: Stage) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/health" not in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno")
            await reader.read()
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    stage.gateway.pools["legacy"].endpoints[0].port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(TINY)
    async with asyncio.timeout(10):
        answer = await read_answer(reader, "POST")
        assert (answer.status, answer.body) == (409, b"no")
        assert await reader.read() == b""
    writer.close()
    await until(lambda: not stage.gateway.clients and not stage.gateway.active)
    server.close()


async def test_a_chunked_response_arrives_whole(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.write(b"6;x=y\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n")

    stage.legacy.handler = handler
    for _ in range(2):
        assert (await stage.client.get("/items")).content == b"hello world"
    assert stage.legacy.connections == 1, "the connection is used again"


async def test_a_response_that_ends_with_its_connection_arrives_whole(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        raise HangUp

    stage.legacy.handler = handler
    assert (await stage.client.get("/items")).content == b"all of it"
    http10 = await stage.raw(b"GET /items HTTP/1.0\r\n\r\n")
    assert http10.endswith(b"\r\n\r\nall of it")
    assert b"chunked" not in http10


async def test_head_204_and_304_have_no_body_and_keep_the_connection(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        status = {"/204": b"204 No Content", "/304": b"304 Not Modified"}.get(seen.target, b"200 OK")
        length = b"" if status.startswith(b"204") else b"Content-Length: 500\r\n"
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n")

    stage.legacy.handler = handler
    answer = await stage.client.head("/items")
    assert answer.headers["content-length"] == "500"
    assert (await stage.client.get("/204")).status_code == 204
    assert (await stage.client.get("/304")).status_code == 304
    assert stage.legacy.connections == 1


async def test_bodies_of_50_mb_pass_both_ways_without_being_collected() -> None:
    size = 50 * 1024 * 1024
    received = 0

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /health"):
            writer.close()
            return
        while received < size:
            piece = await reader.read(1 << 16)
            received += len(piece)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(b"y" * 65536)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(sink, "127.0.0.1", 0, limit=1 << 16)
    async with staged(max_body=size) as stage:
        endpoint = stage.gateway.pools["legacy"].endpoints[0]
        endpoint.port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port, limit=1 << 16)
        writer.write(b"PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        most = 0
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            for exchange in stage.gateway.active:
                kept = sum(map(len, exchange.body.kept or []))
                connection = exchange.call.connection if exchange.call is not None else None
                waiting = connection.transport.get_write_buffer_size() if connection is not None else 0
                most = max(most, kept + waiting)
        await reader.readuntil(b"\r\n\r\n")
        got = 0
        while got < size:
            piece = await reader.read(1 << 16)
            assert piece
            got += len(piece)
            for client in stage.gateway.clients:
                most = max(most, client._transport.get_write_buffer_size())
        assert received == size
        assert most < 2 * 1024 * 1024
        writer.close()
    server.close()


async def test_a_server_that_began_its_answer_and_takes_no_more_of_the_body_has_its_time() -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        with contextlib.suppress(OSError):
            await reader.read(1)
            await asyncio.sleep(30)

    async with staged(read_timeout=0.5) as stage:
        server = await asyncio.start_server(stuck, "127.0.0.1", 0, limit=1024)
        table = stage.gateway.router.table
        there = msgspec.structs.replace(
            table.upstreams["legacy"], urls=[f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"]
        )
        upstreams = {**table.upstreams, "legacy": there}
        assert stage.gateway.swap(msgspec.structs.replace(table, version=2, upstreams=upstreams).validated())
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n" + bytes(30_000_000))
        assert b"200" in await reader.readline()
        await until(lambda: not stage.gateway.active)
        writer.close()
        server.close()
