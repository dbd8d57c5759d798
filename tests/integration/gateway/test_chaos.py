"""Every fault of an upstream, for every kind of request: the right status or a break that the client can see.

What comes next on the same connection is always the answer to the request that was sent, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from load.bench.faults import FAULTS, answer_of
from load.bench.faulty import Faulty
from load.bench.wire import Answer, read_answer, request
from tests.integration.gateway.stage import Stage, staged, until

pytestmark = pytest.mark.long  # 27 faults for 6 kinds of request, most of them time-outs

BIG = 1_500_000  # bytes of an upload: more than is kept to be sent again
SIZE = 40  # repetitions of the id in an answer

KINDS = {
    "get": ("GET", "/items", b"", 0, {}),
    "head": ("HEAD", "/items", b"", 0, {}),
    "post": ("POST", "/items", b"x" * 1000, 0, {}),
    "post with key": ("POST", "/orders", b"x" * 1000, 0, {"Idempotency_Key": "1"}),
    "put": ("PUT", "/items/1", b"x" * 1000, 0, {}),
    "streamed": ("PUT", "/items/1", b"x" * BIG, 50, {}),
}

WHOLE = (
    "ok", "chunked", "until_close", "drip_head", "drip_body", "interim", "leaves_after", "early_answer", "extra_bytes",
    "two_responses", "body_of_a_head",
)  # fmt: skip
LOST = ("close_before_head", "reset_before_head", "close_in_head", "reset_in_head")
BROKEN = ("garbage", "big_head", "two_lengths", "interim_flood")
STALLED = ("stall_before_head", "stall_in_head")
HALF = ("close_in_body", "reset_in_body", "close_in_chunk", "reset_until_close", "bad_chunk", "stall_in_body")


@asynccontextmanager
async def chaos(**settings: float) -> AsyncIterator[tuple[Stage, Faulty]]:
    """Legacy misbehaves; the service does not."""
    faulty = await Faulty().start()
    defaults = {"read_timeout": 0.5, "patience": 0.15, "replay_bytes": 500_000, "breaker_failures": 1000}
    async with staged(**{**defaults, **settings}) as stage:
        endpoint = stage.gateway.pools["legacy"].endpoints[0]
        endpoint.port = faulty.port
        try:
            yield stage, faulty
        finally:
            await faulty.stop()


async def ask(stage: Stage, kind: str, fault: str, identity: str) -> tuple[Answer, Answer | None]:
    """The answer, and the one to an innocent request after it on the same connection."""
    method, path, body, chunks, headers = KINDS[kind]
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    try:
        marks = {"X_Fault": fault, "X_Id": identity, "X_Size": str(SIZE)}
        writer.write(request(method, path, body, chunks, **headers, **marks))
        async with asyncio.timeout(10):
            answer = await read_answer(reader, method)
            if not answer.keeps_connection:
                assert not await rest_of(reader), "nothing may follow the last answer"
                return answer, None
            writer.write(request("GET", "/items", X_Id=f"after-{identity}"))
            return answer, await read_answer(reader, "GET")
    finally:
        writer.close()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def is_own(answer: Answer, identity: str, size: int = SIZE) -> bool:
    return answer.headers["x-answer"] == identity and answer.body in (answer_of(identity, size), b"")


async def quiet(stage: Stage, faulty: Faulty) -> None:
    """Nothing is under way any more, and what is open on either side is idle."""
    gateway = stage.gateway
    endpoint = gateway.pools["legacy"].endpoints[0]
    await until(lambda: not gateway.active and not gateway.clients and not endpoint.busy)
    await until(lambda: faulty.open == endpoint.open)
    assert not len(gateway.room)


def test_every_fault_is_expected_somewhere() -> None:
    assert set(FAULTS) == {*WHOLE, *LOST, *BROKEN, *STALLED, *HALF, "early_answer_and_close"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_becomes_the_right_status_or_a_visible_break(fault: str, kind: str) -> None:
    patience = (1.5 if kind == "streamed" else 0.5) if "stall" in fault else 10.0
    async with chaos(read_timeout=patience) as (stage, faulty):
        answers = await asyncio.gather(*(ask(stage, kind, fault, f"{n}") for n in range(5)))
        for n, (answer, after) in enumerate(answers):
            expect(fault, kind, answer, f"{n}")
            if after is not None:
                assert after.status == 200
                assert is_own(after, f"after-{n}", 1)
        await quiet(stage, faulty)


def expect(fault: str, kind: str, answer: Answer, identity: str) -> None:
    if (fault, kind) == ("leaves_after", "post") and answer.status == 502:
        assert answer.whole  # over a connection that was used a moment ago: nobody knows whether it was carried out
    elif fault in WHOLE or (fault in HALF and kind == "head"):
        assert (answer.status, answer.whole) == (200, True)
        assert is_own(answer, identity)
        assert bool(answer.body) is (kind != "head")
    elif fault == "early_answer_and_close":
        # Who still sends may see the connection break before the answer: nobody can tell it from a loss.
        assert answer.status in ((200, 502, 0) if kind == "streamed" else (200,))
        assert not answer.status or answer.whole
    elif fault in HALF:
        assert answer.status == 200
        assert not answer.whole, "half an answer must not look whole"
        assert answer_of(identity, SIZE).startswith(answer.body)
    else:
        assert answer.status == (504 if fault in STALLED else 502)
        assert answer.whole
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("fault", [*LOST, *HALF, "garbage", "stall_before_head"])
async def test_whatever_fails_is_counted_and_opens_the_breaker(fault: str) -> None:
    async with chaos(breaker_failures=3) as (stage, _):
        for n in range(3):
            await ask_once(stage, "post", fault, f"{n}")
        assert not stage.gateway.breaker("shop", "legacy", read=False).closed


async def test_a_read_falls_back_from_every_fault_before_the_answer_has_begun() -> None:
    async with chaos(breaker_failures=1000) as (stage, faulty):
        stage.wave(phase="service", owner="service")
        pools = stage.gateway.pools
        pools["shop"].endpoints[0].port, pools["legacy"].endpoints[0].port = faulty.port, stage.legacy.port
        for fault in (*LOST, "garbage", "two_lengths", *STALLED):
            answer = await ask_once(stage, "get", fault, fault)
            assert answer.status == 200
            assert "side=legacy" in answer.headers["banyan-route"]
        assert stage.event("fallback") == 8
        half = await ask_once(stage, "get", "close_in_body", "half")
        assert (half.status, half.whole) == (200, False), "what has begun cannot be taken back"


async def ask_once(stage: Stage, kind: str, fault: str, identity: str) -> Answer:
    method, path, body, chunks, headers = KINDS[kind]
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(request(method, path, body, chunks, **headers, X_Fault=fault, X_Id=identity, X_Size=str(SIZE)))
    async with asyncio.timeout(10):
        answer = await read_answer(reader, method)
    writer.close()
    return answer


async def test_a_server_that_closes_what_it_accepts_gets_no_client_stuck() -> None:
    """More wait than may connect at once: those beyond the limit must be told too."""
    async with chaos(read_timeout=30) as (stage, faulty):
        faulty.refusing = True
        answers = await asyncio.gather(*(ask_once(stage, "post", "ok", f"{n}") for n in range(400)))
        assert {answer.status for answer in answers} <= {502, 503}
        faulty.refusing = False
        assert (await ask_once(stage, "post", "ok", "last")).status == 200
        await quiet(stage, faulty)


async def test_a_server_that_is_away_gets_no_client_stuck() -> None:
    async with chaos(read_timeout=30) as (stage, faulty):
        await faulty.stop()
        answers = await asyncio.gather(*(ask_once(stage, "post", "ok", f"{n}") for n in range(400)))
        assert {answer.status for answer in answers} == {503}


async def test_the_end_of_a_part_is_no_end_for_a_client_without_chunks() -> None:
    """An HTTP/1.0 client takes the connection's end for the answer's; only a reset says otherwise."""
    async with chaos() as (stage, _):
        for fault, whole in (("until_close", True), ("reset_until_close", False), ("close_in_chunk", False)):
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
            writer.write(f"GET /items HTTP/1.0\r\nX-Fault: {fault}\r\nX-Id: 7\r\nX-Size: 40\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"chunked" not in head
            if whole:
                assert await reader.read() == answer_of("7", 40)
            else:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            writer.close()


async def test_a_server_that_stops_reading_an_upload_is_a_timeout() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1 << 12)
    async with chaos() as (stage, _):
        stage.gateway.pools["legacy"].endpoints[0].port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"PUT /items/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000)
        async with asyncio.timeout(20):
            assert (await read_answer(reader, "PUT")).status == 504
        writer.transport.abort()
    server.close()


async def test_an_upload_that_takes_longer_than_the_read_timeout_is_answered() -> None:
    """The server has its whole time from when the last byte came, not from when the first went out."""
    async with chaos(read_timeout=0.5, total_timeout=0.8) as (stage, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(
            b"PUT /items/1 HTTP/1.1\r\nHost: a\r\nX-Id: 1\r\nX-Fault: drip_head\r\nContent-Length: 100000\r\n\r\n"
        )
        for _ in range(10):
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.1)
        assert (await read_answer(reader, "PUT")).status == 200
        writer.close()
