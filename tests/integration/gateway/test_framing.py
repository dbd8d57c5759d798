"""Messages that two parsers could read differently are refused, and their connection is closed."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.integration.gateway.stage import Stage, staged

REFUSED = {
    "conflicting lengths": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "a list of lengths": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"),
    "a signed length": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"),
    "an enormous length": (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    "a length and a coding": (
        400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "an unknown coding": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "two codings": (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "a disguised coding": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "a coding in HTTP/1.0": (400, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a folded line": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    "a bare LF": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a bare LF in the headers": (400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    "a bare CR": (400, b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    "a NUL": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    "a space before the colon": (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    "a header without a name": (400, b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "a Host that is none": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "two spaces in the request line": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a fragment": (400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "dot segments": (400, b"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "encoded dot segments": (400, b"GET /a/%2e%2E/b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "another authority than Host": (400, b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT": (501, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    "an unknown method": (501, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/2": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "an unknown expectation": (417, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n"),
    "101 headers": (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n"),
    "33 KiB of headers": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 33 * 1024 + b"\r\n\r\n"),
    "headers without end": (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40 * 1024),
    "a bad chunk size": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    "a chunk size with a sign": (400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n"),
    "a chunk longer than it says": (
        400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ),
    "a chunk that ends with a bare LF": (
        400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_the_connection_closed(stage: Stage, name: str) -> None:
    status, data = REFUSED[name]
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await stage.raw(data + smuggled)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"application/problem+json" in head
    assert b"Connection: close" in head
    assert msgspec.json.decode(body)["status"] == status
    assert not [seen for seen in stage.legacy.seen if seen.target == "/smuggled"]


async def test_conflicting_lengths_are_refused_and_the_connection_closed(stage: Stage) -> None:
    answer = await stage.raw(REFUSED["conflicting lengths"][1])
    assert answer.startswith(b"HTTP/1.1 400")
    assert not stage.legacy.seen


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(chunked: bool) -> None:
    async with staged(max_body=1000) as stage:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1001"
        body = b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n" if chunked else b"x" * 1001
        answer = await stage.raw(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + body)
        assert answer.startswith(b"HTTP/1.1 413")


async def test_a_head_that_comes_too_slowly_is_refused() -> None:
    async with staged(slow_timeout=0.3) as stage:
        answer = await stage.raw(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert answer.startswith(b"HTTP/1.1 408")


async def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async with staged(slow_timeout=0.3) as stage:
        answer = await stage.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert answer.startswith(b"HTTP/1.1 408")


async def test_what_is_right_is_let_through(stage: Stage) -> None:
    answer = await stage.raw(
        b"\r\nGET http://A:1/items?x HTTP/1.1\r\nhost: a:1\r\nX-Empty:\r\nX-Latin: \xe9\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert stage.legacy.seen[0].target == "/items?x"


async def test_a_request_in_single_bytes_is_the_same_request(stage: Stage) -> None:
    data = (
        b"POST /items HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await reader.read()).endswith(b"\r\n\r\nabcde")
    writer.close()
