"""Clients that drip, or do not read: each is cut off by its time limit, and none costs more than a bounded buffer."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from gateway.http1.downstream import Downstream
from load.bench.wire import read_answer, request
from tests.integration.gateway.stage import Stage, interpreted, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, answering

HEAD = b"GET /items HTTP/1.1\r\nHost: a\r\n"
MOST_BUFFERED = 1 << 20  # bytes for one client in user space


def deaf_client(port: int) -> socket.socket:
    """Takes as little as the system allows before it has to read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


def buffered(stage: Stage) -> int:
    return max((client._transport.get_write_buffer_size() for client in stage.gateway.clients), default=0)


async def drip(port: int, first: bytes, drop: bytes) -> bytes:
    """Say `first`, then `drop` again and again until the gateway has enough; what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)

    async def keep_on() -> None:
        while True:
            writer.write(drop)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(keep_on())
    try:
        async with asyncio.timeout(8):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        task.cancel()
        writer.transport.abort()


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (HEAD, b"X-A: b\r\n"),
        (b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"POST /items HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["head", "body", "chunks"],
)
async def test_dripping_is_answered_408_in_time(first: bytes, drop: bytes) -> None:
    async with staged(slow_timeout=0.6, slow_rate=100) as stage:
        said = await drip(stage.port, first, drop)
        assert said.startswith(b"HTTP/1.1 408 ")
        await until(lambda: not stage.gateway.clients)


@pytest.mark.parametrize(
    ("first", "piece", "last", "status"),
    [
        (b"GET /", b"x" * 5000, b"", 414),
        (HEAD + b"X-A: ", b"x" * 5000, b"", 431),
        (HEAD + b"X-A: ", b"x" * 50, b"\n", 400),
        (HEAD + b"X-A: ", b"x" * 50, b"\r\n\r\n", 200),
    ],
    ids=["a long line", "a long head", "a bare LF", "a whole one"],
)
async def test_a_head_in_pieces_is_judged_as_one(
    stage: Stage, first: bytes, piece: bytes, last: bytes, status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    for part in (first, *[piece] * 7, last):
        writer.write(part)
        await asyncio.sleep(0.01)  # a read of its own, most likely
    assert (await read_answer(reader, "GET")).status == status
    writer.close()


async def test_bodies_that_drip_leave_connections_to_the_others(stage: Stage) -> None:
    """More of them than there are connections to the server: the others are answered all the same."""
    dripping = []
    for _ in range(300):
        _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
        dripping.append(writer)
    endpoint = stage.gateway.pools["legacy"].endpoints[0]
    await until(lambda: len(stage.gateway.clients) == 300 and endpoint.open >= 128)
    for _ in range(20):
        assert (await stage.client.get("/items")).status_code == 200
    assert endpoint.busy <= 128
    dripping[-1].write(b"x" * 999)
    await until(lambda: any(seen.body == b"x" * 1000 for seen in stage.legacy.seen))
    for writer in dripping:
        writer.transport.abort()


async def test_empty_lines_do_not_keep_an_idle_connection() -> None:
    async with staged(idle_timeout=0.6, slow_timeout=0.6) as stage:
        await drip(stage.port, b"", b"\r\n")
        await until(lambda: not stage.gateway.clients)


async def test_a_slow_body_above_the_rate_arrives() -> None:
    async with staged(slow_timeout=0.6, slow_rate=100) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(20):
            writer.write(b"x" * 50)
            await asyncio.sleep(0.1)
        assert (await read_answer(reader, "POST")).body == b"x" * 1000
        writer.close()


async def test_who_does_not_read_answers_cannot_ask_for_more_of_them() -> None:
    """One request after the other, each small, none of the answers read."""
    async with staged(write_timeout=1, idle_timeout=1) as stage:
        stage.legacy.handler = answering(body=b"y" * 20_000)
        sock = deaf_client(stage.port)
        asked = 0
        try:
            while asked < 2000:
                sock.send(HEAD + b"\r\n")
                asked += 1
                await asyncio.sleep(0.001)
                assert buffered(stage) < MOST_BUFFERED
        except (BlockingIOError, ConnectionError):
            pass  # the gateway reads no more of us either
        await until(lambda: not stage.gateway.clients, within=10)
        assert len(stage.legacy.seen) < 1500
        sock.close()


async def test_who_does_not_read_a_large_answer_is_cut_off_and_its_server_is_not_blamed() -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(100):
            writer.write(b"z" * 1_000_000)
            await writer.drain()

    async with staged(write_timeout=0.6, breaker_failures=1) as stage:
        stage.legacy.handler = handler
        sock = deaf_client(stage.port)
        sock.send(HEAD + b"\r\n")
        await until(lambda: stage.gateway.active)
        most = 0
        while stage.gateway.clients:
            most = max(most, buffered(stage))
            await asyncio.sleep(0.01)
        assert 0 < most < MOST_BUFFERED
        assert stage.gateway.breaker("shop", "legacy").closed
        sock.close()


async def test_who_does_not_read_the_last_answer_of_a_connection_is_cut_off() -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 3_000_000)
        await writer.drain()
        raise HangUp

    async with staged(read_timeout=0.6, write_timeout=0.6) as stage:
        stage.legacy.handler = handler
        sock = deaf_client(stage.port)
        sock.send(HEAD + b"Connection: close\r\n\r\n")
        await until(lambda: stage.gateway.clients)
        await until(lambda: not stage.gateway.clients, within=8)
        sock.close()


async def test_a_slow_reader_gets_all_of_it() -> None:
    """Slower than the read timeout allows for the whole, but never silent for so long."""
    size = 12_000_000

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            writer.write(b"z" * 100_000)
            await writer.drain()

    async with staged(read_timeout=0.6, write_timeout=0.6) as stage:
        stage.legacy.handler = handler
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port, limit=1 << 14)
        writer.write(request("GET", "/items", Connection="close"))
        await reader.readuntil(b"\r\n\r\n")
        got = 0
        while piece := await reader.read(400_000):
            got += len(piece)
            await asyncio.sleep(0.02)
            assert buffered(stage) < MOST_BUFFERED
        assert got == size
        writer.close()


async def crowd(stage: Stage, size: int) -> list[asyncio.StreamWriter]:
    writers = []
    for _ in range(size):
        _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(HEAD)
        writers.append(writer)
    await until(lambda: len(stage.gateway.clients) == size)
    return writers


@interpreted
async def test_a_defect_in_one_connection_leaves_the_others_their_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged(slow_timeout=0.6) as stage:
        writers = await crowd(stage, 20)
        broken = set(list(stage.gateway.clients)[::7])
        check = Downstream.check

        def defective(client: Downstream, now: float, idle: float, slow: float) -> bool:
            assert client not in broken, "a defect"
            return check(client, now, idle, slow)

        monkeypatch.setattr(Downstream, "check", defective)
        await until(lambda: stage.gateway.clients == broken, within=10)
        for writer in writers:
            writer.transport.abort()


@interpreted
async def test_who_is_served_while_many_are_turned_away_has_the_time_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged() as stage:
        writers = await crowd(stage, 50)
        times: list[float] = []

        def slow(client: Downstream, *_: float) -> bool:
            time.sleep(0.002)  # as if it took the kernel long to end it
            times.append(stage.gateway.now)
            return True

        monkeypatch.setattr(Downstream, "check", slow)
        await until(lambda: len(times) >= 50)
        assert len(set(times[:50])) > 10
        for writer in writers:
            writer.transport.abort()
