"""One connection, several messages: interim answers, pipelining, half-close, early answers, tunnels."""

from __future__ import annotations

import asyncio

from tests.integration.gateway.stage import Stage, until
from tests.integration.gateway.upstream import Seen, response


async def test_informational_responses_are_not_taken_for_the_response(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response(body=b'"final"'))

    stage.legacy.handler = handler
    assert (await stage.client.get("/items")).json() == "final"


async def test_a_100_is_sent_when_the_upstream_does_not_know_the_word(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST /items HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(4) == b"body"
    assert stage.legacy.seen[0].headers["expect"] == "100-continue"
    writer.close()


async def test_pipelined_requests_are_answered_in_order(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.target == "/0":
            await until(lambda: any(b"/last" in client._buffer for client in stage.gateway.clients))
        writer.write(response(body=seen.target.encode()))

    stage.legacy.handler = handler
    requests = [f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for n in range(20)]
    requests.insert(10, b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    answer = await stage.raw(b"".join(requests) + b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200")[1:]]
    assert bodies == [f"/{n}".encode() for n in range(10)] + [b"/p"] + [f"/{n}".encode() for n in range(10, 20)] + [
        b"/last"
    ]


async def test_a_client_that_closed_its_sending_half_still_gets_all_its_answers(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
    writer.write_eof()
    async with asyncio.timeout(5):
        assert (await reader.read()).count(b"HTTP/1.1 200") == 2
    writer.close()


async def test_an_early_response_ends_the_upload(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the body never becomes complete")

    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(409, b'"no"'))
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(refuse_early, "127.0.0.1", 0)
    stage.legacy.handler = handler
    endpoint = stage.gateway.pools["legacy"].endpoints[0]
    endpoint.port = server.sockets[0].getsockname()[1]
    answer = await stage.raw(b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
    assert answer.startswith(b"HTTP/1.1 409")
    assert b"Connection: close" in answer
    server.close()


async def test_a_websocket_upgrade_becomes_a_tunnel(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        assert seen.headers["connection"] == "upgrade"
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")

    stage.legacy.handler = handler
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert await reader.readexactly(5) == b"hello"
    writer.write(b"\x00raw bytes\r\n\r\n")
    await until(lambda: stage.gateway.active)
    writer.close()
    await until(lambda: not stage.gateway.active)


async def test_a_tunnel_whose_client_leaves_is_counted_once(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")

    stage.legacy.handler = handler
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await until(lambda: stage.gateway.pools["legacy"].endpoints[0].open == 0)
    cell = stage.gateway.meter.cell("default", "legacy", "default")
    assert cell.classes == [0, 1, 0, 0, 0, 0]


async def test_an_unasked_101_is_no_tunnel(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        assert "upgrade" not in seen.headers
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")

    stage.legacy.handler = handler
    for headers in ({}, {"Connection": "upgrade", "Upgrade": "h2c"}):
        assert (await stage.client.get("/elsewhere", headers=headers)).status_code == 502
