"""Two nodes and a sync that is slow or stands still: a client that writes at one and reads at the other sees its write.

The nodes are real; each reaches Redis through a line that a test can slow down or cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import msgspec
import pytest
import redis
import structlog

from banyan.servers import Redis
from gateway.control.pinlease import Lease
from gateway.control.pinrelay import PinRelay
from gateway.policies.pins import PinBoard
from gateway.policies.sharing import LEASE_SECONDS, MOST_SECONDS
from gateway.settings import Settings
from tests.integration.gateway.running import Running, Start, first, ready
from tests.integration.gateway.stage import reason, side, until
from tests.integration.gateway.upstream import Seen, Upstream, response

pytestmark = pytest.mark.long  # two nodes, and a line between them that is slow


@dataclass
class Line:
    """A TCP line to Redis. `delay`: seconds that every byte is late, each way; `cut`: nothing passes."""

    port: int = 0
    to: int = 0
    delay: float = 0.0
    cut: bool = False
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, to: int) -> Line:
        self.to = to
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def break_off(self) -> None:
        self.cut = True
        for writer in list(self._writers):
            writer.close()

    def close(self) -> None:
        self.break_off()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.close()
            return
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await late.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    writer.close()
                    return
                writer.write(data)

        sending = asyncio.create_task(send())
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                late.put_nowait((time.monotonic() + self.delay, data))
        late.put_nowait((time.monotonic() + self.delay, b""))
        with contextlib.suppress(OSError):
            await sending
        self._writers.discard(writer)


@dataclass
class Pair:
    """Two nodes in front of a monolith that keeps what is written, and a service that never gets it."""

    one: Running
    other: Running
    lines: tuple[Line, Line]
    redis: Redis
    client: httpx.AsyncClient
    written: dict[str, str] = field(default_factory=dict)

    async def write(self, node: Running, client: str, value: str) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        answer = await self.client.post(f"{node.url}/items", headers={"X-Client": client}, content=value)
        assert (answer.status_code, answer.text) == (201, value)
        return time.monotonic() - began

    async def read(self, node: Running, client: str) -> httpx.Response:
        answer = await self.client.get(f"{node.url}/items", headers={"X-Client": client})
        assert answer.status_code == 200
        return answer

    async def trusts(self, node: Running) -> bool:
        """A node that trusts its board reads at the service for who has not written."""
        return side(await self.read(node, f"nobody-{time.monotonic()}")) == "service"

    async def settle(self) -> None:
        """Until both trust their boards, and the sync has got as far as this moment, where it stays."""

        async def both_trust() -> bool:
            self.set_watermark(time.time())
            return await self.trusts(self.one) and await self.trusts(self.other)

        await until(both_trust, within=20)

    def set_watermark(self, at: float) -> None:
        with redis.Redis.from_url(self.redis.url) as client:
            client.hset("banyan:watermark", "shop.forward", msgspec.json.encode({"commit_at": at}).decode())


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(folder=tmp_path / "redis", log=tmp_path / "redis.log").start()
    yield server
    server.stop()


@pytest.fixture
async def pair(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start, own_redis: Redis
) -> AsyncIterator[Pair]:
    lines = (await Line().start(own_redis.port), await Line().start(own_redis.port))
    legacy, service = sides
    table = first(tmp_path, sides)
    nodes = [
        starting(
            f"node-{number}",
            GATEWAY_TABLE=table,
            GATEWAY_WORKERS="2",
            GATEWAY_REDIS_URL=own_redis.url.replace(f":{own_redis.port}/", f":{line.port}/"),
        )
        for number, line in enumerate(lines)
    ]
    # A connection for each request: writes and reads meet every worker.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=10, limits=limits) as client:
        made = Pair(nodes[0], nodes[1], lines, own_redis, client)

        async def monolith(seen: Seen, writer: asyncio.StreamWriter) -> None:
            who = seen.headers.get("x-client", "")
            if seen.method == "POST":
                made.written[who] = seen.body.decode()
                writer.write(response(201, seen.body))
            else:
                writer.write(response(body=made.written.get(who, "nothing").encode()))

        async def stale(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(response(body=b"nothing"))

        legacy.handler, service.handler = monolith, stale
        made.set_watermark(1.0)
        for node in nodes:
            await ready(node)
        patched = await asyncio.to_thread(
            nodes[0].admin().patch_domain, "shop", 1, "ann", "go", phase="canary", canary_percent=100
        )
        assert patched.everywhere

        await made.settle()
        yield made
        for line in lines:
            line.close()


async def writes_and_reads(pair: Pair, clients: int, name: str) -> list[httpx.Response]:
    """Each client writes at one node and reads at the other at once; every answer must be what it wrote."""

    async def journey(number: int) -> httpx.Response:
        here, there = (pair.one, pair.other) if number % 2 else (pair.other, pair.one)
        who, value = f"{name}-{number}", f"value-{number}"
        await pair.write(here, who, value)
        answer = await pair.read(there, who)
        assert answer.text == value, f"{who} reads {answer.text!r} {answer.headers['banyan-route']} after its write"
        return answer

    answers: list[httpx.Response] = []
    for begin in range(0, clients, 10):
        answers += await asyncio.gather(*(journey(number) for number in range(begin, min(begin + 10, clients))))
    return answers


async def test_a_client_that_writes_at_one_node_reads_its_write_at_the_other_however_slow_the_line(pair: Pair) -> None:
    answers = await writes_and_reads(pair, 200, "quick")
    assert {side(answer) for answer in answers} == {"legacy"}
    assert await pair.trusts(pair.one), "the others' reads stay at the service"
    assert await pair.trusts(pair.other)

    async def synced() -> bool:
        pair.set_watermark(time.time())
        return side(await pair.read(pair.other, "quick-1")) == "service"

    await until(synced)
    for delay in (0.05, 0.3):
        pair.lines[1].delay = delay
        await writes_and_reads(pair, 60, f"slow-{delay}")


async def test_without_redis_every_read_that_has_a_choice_goes_to_the_owner(pair: Pair) -> None:
    for line in pair.lines:
        line.break_off()
    answers = await writes_and_reads(pair, 100, "cut")
    assert {reason(answer) for answer in answers} == {"pin"}
    assert not await pair.trusts(pair.one)
    slowest = max([await pair.write(pair.one, "later", "x") for _ in range(5)])
    assert slowest < MOST_SECONDS, "once it is known that nobody trusts, writes do not wait"
    for line in pair.lines:
        line.cut = False
    await pair.settle()
    await writes_and_reads(pair, 20, "again")


async def test_a_node_that_alone_is_cut_off_still_takes_writes_and_nobody_reads_the_past(pair: Pair) -> None:
    pair.lines[0].break_off()
    await writes_and_reads(pair, 100, "half")
    assert not await pair.trusts(pair.other), "while a node is missing, nobody trusts"
    pair.lines[0].cut = False
    await pair.settle()
    await writes_and_reads(pair, 20, "whole")


async def test_a_redis_that_stops_for_a_moment_and_comes_back_empty_loses_no_pin(pair: Pair) -> None:
    await pair.write(pair.one, "before", "1")
    pair.redis.stop()
    pair.redis.start()
    pair.set_watermark(1.0)
    deadline = time.monotonic() + 4 * LEASE_SECONDS
    turn = 0
    while time.monotonic() < deadline:
        turn += 1
        assert (await pair.read(pair.other, "before")).text == "1"
        await pair.write(pair.one, f"turn-{turn}", "2")
        assert (await pair.read(pair.other, f"turn-{turn}")).text == "2"


async def test_a_fault_in_a_relay_is_told_and_outlived(
    own_redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody trusts because of it; and when it is over, boards are trusted again."""
    faults = iter([KeyError("one"), ZeroDivisionError("two")])
    real = Lease._take_nodes

    def faulty(lease: Lease, reply: Sequence[bytes | int]) -> bool:
        if (fault := next(faults, None)) is not None:
            raise fault
        return real(lease, reply)

    monkeypatch.setattr(Lease, "_take_nodes", faulty)
    board = PinBoard(shared=True)
    settings = replace(Settings(), redis_url=own_redis.url, state_dir=tmp_path, drain_seconds=1)
    relay = PinRelay(settings, board)
    with structlog.testing.capture_logs() as logs:
        relay.start()
        try:
            await until(board.trusted, within=15)
        finally:
            await asyncio.to_thread(relay.stop)
    assert [line["again_in"] for line in logs if "a fault in the relay" in line["event"]] == [0.2, 0.4]
    assert not relay.is_alive()
    assert not board.trusted()
