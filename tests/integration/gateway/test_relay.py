"""Passing messages on: heads, bodies, order, sizes."""

from __future__ import annotations

import asyncio

from tests.integration.gateway.conftest import Stage, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, answering, response


async def test_a_request_reaches_legacy_and_says_so(stage: Stage) -> None:
    answer = await stage.client.get("/items?x=1", headers={"X-Client": "a"})
    assert answer.status_code == 200
    assert answer.headers["banyan-route"] == "domain=shop; side=legacy; reason=phase; version=1"
    assert stage.legacy.seen[0].target == "/items?x=1"


async def test_what_matches_no_operation_goes_to_legacy(stage: Stage) -> None:
    answer = await stage.client.delete("/elsewhere")
    assert answer.headers["banyan-route"] == "domain=default; side=legacy; reason=default; version=1"


async def test_the_upstream_is_told_who_asked(stage: Stage) -> None:
    answer = await stage.client.get("/items", headers={"X-Forwarded-For": "10.0.0.9", "X-Forwarded-Proto": "gopher"})
    seen = stage.legacy.seen[0].headers
    assert seen["x-forwarded-for"] == "10.0.0.9, 127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == seen["host"] == f"127.0.0.1:{stage.port}"
    assert seen["x-request-id"] == answer.headers["x-request-id"]
    assert len(seen["traceparent"].split("-")) == 4


async def test_a_given_request_id_and_trace_are_kept(stage: Stage) -> None:
    given = {"X-Request-Id": "mine-1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    answer = await stage.client.get("/items", headers=given)
    seen = stage.legacy.seen[0].headers
    assert (seen["x-request-id"], seen["traceparent"]) == ("mine-1", given["traceparent"])
    assert answer.headers["x-request-id"] == "mine-1"


async def test_an_absurd_request_id_is_replaced(stage: Stage) -> None:
    await stage.client.get("/items", headers={"X-Request-Id": "x" * 500})
    assert len(stage.legacy.seen[0].headers["x-request-id"]) < 100
    assert stage.legacy.seen[0].head.lower().count(b"x-request-id") == 1


async def test_hop_by_hop_headers_and_those_named_in_connection_are_removed(stage: Stage) -> None:
    stage.legacy.handler = answering(200, b"{}", Keep_Alive="timeout=3", X_Private="1", Connection="X-Private")
    answer = await stage.raw(
        b"GET /items HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret, Host\r\nX-Secret: 1\r\nTE: trailers\r\n"
        b"Keep-Alive: 3\r\nX-Kept: 1\r\n\r\n"
    )
    seen = stage.legacy.seen[0].headers
    assert not {"x-secret", "te", "keep-alive", "connection"} & seen.keys()
    assert seen["x-kept"] == "1"
    assert seen["host"] == "a", "a client cannot have Host removed"
    assert b"X-Private" not in answer
    assert b"Keep-Alive" not in answer


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


async def test_informational_responses_are_not_taken_for_the_response(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response(body=b'"final"'))

    stage.legacy.handler = handler
    assert (await stage.client.get("/items")).json() == "final"


async def test_expect_100_continue_is_answered_before_the_body_comes(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST /items HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(4) == b"body"
    assert "expect" not in stage.legacy.seen[0].headers
    writer.close()


async def test_pipelined_requests_are_answered_in_order(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.target == "/0":
            await asyncio.sleep(0.05)
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
