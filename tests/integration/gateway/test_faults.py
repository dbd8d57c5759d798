"""An upstream that breaks off, talks nonsense or says nothing: the right status, or a clean break."""

from __future__ import annotations

import asyncio

from tests.integration.gateway.stage import Stage, staged
from tests.integration.gateway.upstream import HangUp, Seen, hang


async def test_a_truncated_response_is_not_passed_off_as_whole(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        await writer.drain()
        raise HangUp

    stage.legacy.handler = handler
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"GET /items HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 100" in head
    try:
        rest = await reader.read()
    except ConnectionResetError:
        rest = b""
    assert len(rest) < 100
    writer.close()


async def test_a_garbage_response_becomes_a_502(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"this is not HTTP\r\n\r\n")

    stage.legacy.handler = handler
    answer = await stage.client.get("/elsewhere")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_server_that_does_not_answer_becomes_a_504() -> None:
    async with staged(read_timeout=0.3) as stage:
        stage.legacy.handler = hang
        assert (await stage.client.post("/items", content=b"x")).status_code == 504
