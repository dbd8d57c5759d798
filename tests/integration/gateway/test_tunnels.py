"""WebSockets through the gateway, with a real library at both ends, and tunnels that end in every way there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.http11 import Request, Response

from gateway.http1.downstream import MOST_PIPELINED
from tests.integration.gateway.stage import Stage, staged, until

Handler = Callable[[ServerConnection], Awaitable[None]]

UPGRADE = (
    b"GET /feed HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def health(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(200, "") if request.path == "/health" else None


@asynccontextmanager
async def tunnelled(handler: Handler = echo, **settings: float) -> AsyncIterator[tuple[Stage, str]]:
    """The stage, and the address of `handler` behind it."""
    async with (
        serve(handler, "127.0.0.1", 0, process_request=health, max_size=None) as server,
        staged(**settings) as stage,
    ):
        endpoint = stage.gateway.pools["legacy"].endpoints[0]
        endpoint.port = next(iter(server.sockets)).getsockname()[1]
        yield stage, f"ws://127.0.0.1:{stage.port}/feed"
        await nothing_left(stage)


async def nothing_left(stage: Stage) -> None:
    endpoint = stage.gateway.pools["legacy"].endpoints[0]
    await until(lambda: not stage.gateway.active and not stage.gateway.clients and not endpoint.busy)


async def test_5000_messages_come_back_as_they_were_sent() -> None:
    async with tunnelled() as (_, url), connect(url) as client:
        sent = [f"{n}" * (n % 50 + 1) if n % 2 else b"%d" % n * (n % 300 + 1) for n in range(5000)]

        async def send() -> None:
            for message in sent:
                await client.send(message)

        sending = asyncio.create_task(send())
        assert [await client.recv() for _ in sent] == sent
        await sending


async def test_big_frames_and_pings_pass() -> None:
    async with tunnelled() as (_, url), connect(url, max_size=None) as client:
        big = bytes(range(256)) * 40_000  # 10 MB in one frame
        await client.send(big)
        assert await client.recv() == big
        await asyncio.wait_for(await client.ping(b"there?"), 10)


@pytest.mark.parametrize("who", ["client", "server"])
async def test_close_codes_reach_the_other_end(who: str) -> None:
    closed: list[tuple[int, str]] = []

    async def handler(connection: ServerConnection) -> None:
        if who == "server":
            await connection.close(4002, "enough")
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        closed.append((connection.close_code or 0, connection.close_reason or ""))

    async with tunnelled(handler) as (_, url), connect(url) as client:
        if who == "client":
            await client.close(4001, "goodbye")
        else:
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (4002, "enough")
        await until(lambda: closed)
        assert closed == [(4001, "goodbye") if who == "client" else (4002, "enough")]


async def test_a_client_that_vanishes_takes_its_tunnel_along() -> None:
    closed: list[int] = []

    async def handler(connection: ServerConnection) -> None:
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        closed.append(connection.close_code or 0)

    async with tunnelled(handler) as (_, url):
        client = await connect(url)
        client.transport.abort()
        await until(lambda: closed)
        assert closed == [1006]


async def test_a_server_that_vanishes_takes_its_tunnel_along() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with tunnelled(handler) as (stage, url), connect(url) as client:
        await client.send("go")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert stage.gateway.breaker("shop", "legacy").closed


async def test_a_refused_upgrade_is_an_ordinary_answer(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(UPGRADE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.write(b"GET /items HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"HTTP/1.1 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()


@asynccontextmanager
async def raw_tunnel(stage: Stage, behind: Handler) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Bytes both ways; `behind` gets (reader, writer) once it has switched."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/health" not in head:
            writer.write(SWITCHED)
            await behind((reader, writer))  # type: ignore[arg-type]
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    stage.gateway.pools["legacy"].endpoints[0].port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port, limit=1 << 14)
    writer.write(UPGRADE)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    yield reader, writer
    writer.close()
    server.close()


async def test_who_has_said_its_last_word_still_hears_the_other(stage: Stage) -> None:
    async def behind(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:  # type: ignore[override]
        reader, writer = streams
        asked = await reader.read()  # to its end
        writer.write(b"you said " + asked + b"!" * 100_000)
        await writer.drain()

    async with raw_tunnel(stage, behind) as (reader, writer):  # type: ignore[arg-type]
        writer.write(b"the last word")
        writer.write_eof()
        assert await reader.read() == b"you said the last word" + b"!" * 100_000
    await nothing_left(stage)


async def test_half_a_tunnel_is_not_kept_for_ever() -> None:
    async def behind(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:  # type: ignore[override]
        await asyncio.sleep(3)

    async with staged(read_timeout=0.5) as stage, raw_tunnel(stage, behind) as (reader, writer):  # type: ignore[arg-type]
        writer.write_eof()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        await nothing_left(stage)


async def test_neither_end_of_a_tunnel_can_fill_the_gateway() -> None:
    """Each end that does not read stops the other one."""

    async def behind(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:  # type: ignore[override]
        _, writer = streams
        for _ in range(1000):
            writer.write(b"z" * 100_000)
            await writer.drain()

    async with staged(write_timeout=0.5) as stage, raw_tunnel(stage, behind) as (reader, writer):  # type: ignore[arg-type]
        writer.transport.pause_reading()
        for _ in range(600):
            writer.write(b"y" * 100_000)
            for client in stage.gateway.clients:
                assert client._transport.get_write_buffer_size() < 1 << 20
            for exchange in stage.gateway.active:
                assert exchange.call is not None
                assert exchange.call.connection is not None
                assert exchange.call.connection.transport.get_write_buffer_size() < 1 << 20
            await asyncio.sleep(0.001)
        assert writer.transport.get_write_buffer_size() > 1 << 20, "the gateway has stopped reading"
        writer.transport.abort()
        await nothing_left(stage)


async def test_a_drain_leaves_a_tunnel_its_time_and_new_requests_their_answer() -> None:
    async with tunnelled(drain_seconds=20.0) as (stage, url):
        async with connect(url) as client:
            draining = asyncio.create_task(stage.gateway.drain())
            await until(lambda: stage.gateway.draining)
            for n in range(10):
                await client.send(f"{n}")
                assert await client.recv() == f"{n}"
            assert not draining.done()
        await asyncio.wait_for(draining, 10)


async def test_a_drain_ends_though_a_tunnel_stays_open() -> None:
    async with tunnelled(drain_seconds=0.3) as (stage, url), connect(url) as client:
        await asyncio.wait_for(stage.gateway.drain(), 10)
        await client.send("still here until the process ends")
        assert await client.recv()


async def test_who_speaks_at_length_before_the_switch_is_heard_after_it(stage: Stage) -> None:
    """More than is kept of what comes before an answer: reading had stopped, and goes on."""
    early, late = b"e" * (3 * MOST_PIPELINED), b"l" * 1000

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/health" not in await reader.readuntil(b"\r\n\r\n"):
            await until(lambda: next(iter(stage.gateway.clients)).is_paused)
            writer.write(SWITCHED)
            writer.write(await reader.readexactly(len(early + late)))
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    stage.gateway.pools["legacy"].endpoints[0].port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(UPGRADE + early)
    async with asyncio.timeout(10):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(late)
        assert await reader.readexactly(len(early + late)) == early + late
    writer.close()
    server.close()
