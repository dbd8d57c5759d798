"""Rate limits: what a client is told, who is counted together, and Redis between workers, dead and alive."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from banyan.servers import Redis
from gateway.control.front import Limit
from gateway.control.table import RouteTable
from tests.integration.gateway.stage import Stage, staged, until


def limited(table: RouteTable, *shared: Limit, **by_operation: list[Limit]) -> RouteTable:
    """The next table, with limits of the domain and of operations (`items_list`)."""
    domain = table.domains["shop"]
    operations = [
        msgspec.structs.replace(operation, limits=by_operation.get(operation.id.replace(".", "_"), []))
        for operation in domain.operations
    ]
    domain = msgspec.structs.replace(domain, limits=list(shared), operations=operations)
    return msgspec.structs.replace(table, version=table.version + 1, domains={"shop": domain}).validated()


def limit(stage: Stage, *shared: Limit, **by_operation: list[Limit]) -> None:
    assert stage.gateway.swap(limited(stage.gateway.router.table, *shared, **by_operation))


async def test_who_asks_too_often_is_told_when_to_come_again(stage: Stage) -> None:
    limit(stage, items_list=[Limit("reads", rate=0.1, burst=2, key=["header:x-client"])])
    first, second, third = [await stage.client.get("/items", headers={"X-Client": "ann"}) for _ in range(3)]
    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 429)
    assert first.headers["ratelimit-policy"] == '"reads";q=2;w=20'
    assert first.headers["ratelimit"] == '"reads";r=1;t=10'
    assert second.headers["ratelimit"] == '"reads";r=0;t=20'
    assert third.headers["retry-after"] == "10"
    assert third.headers["ratelimit"].startswith('"reads";r=0;')
    assert third.headers["content-type"] == "application/problem+json"
    assert len(stage.legacy.seen) == 2
    assert stage.event("limited") == 1
    assert (await stage.client.get("/items", headers={"X-Client": "bob"})).status_code == 200, "another client"
    assert (await stage.client.get("/items/1", headers={"X-Client": "ann"})).status_code == 200, "another operation"


async def test_who_names_no_key_is_counted_by_address(stage: Stage) -> None:
    limit(stage, items_list=[Limit("reads", rate=0.1, burst=1, key=["header:x-client"])])
    assert (await stage.client.get("/items")).status_code == 200
    assert (await stage.client.get("/items", headers={"X-Forwarded-For": "9.9.9.9"})).status_code == 429, "not trusted"
    assert (await stage.client.get("/items", headers={"X-Client": "127.0.0.1"})).status_code == 200, (
        "a name, no address"
    )


async def test_a_limit_of_the_domain_counts_all_its_operations_and_a_refusal_takes_nothing(stage: Stage) -> None:
    narrow = Limit("narrow", rate=0.1, burst=1)
    limit(stage, Limit("all", rate=0.1, burst=3), items_list=[narrow])
    assert (await stage.client.get("/items")).status_code == 200
    for _ in range(3):
        refused = await stage.client.get("/items")
        assert refused.status_code == 429
        assert '"narrow"' in refused.headers["ratelimit"]
        assert '"all"' in refused.headers["ratelimit"]
    assert [(await stage.client.get("/items/1")).status_code for _ in range(3)] == [200, 200, 429]


async def test_a_refused_upload_is_not_read_and_the_next_request_is_understood(stage: Stage) -> None:
    limit(stage, items_add=[Limit("writes", rate=0.1, burst=1)])
    head = b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    answer = await stage.raw(head + b"\r\nabc" + head + b"\r\nabc" + head + b"Connection: close\r\n\r\nabc")
    assert [line.split(b" ")[1] for line in answer.split(b"HTTP/1.1")[1:] for line in [b"H" + line]] == [
        b"200", b"429", b"429",
    ]  # fmt: skip
    late = await stage.raw(b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
    assert late.startswith(b"HTTP/1.1 429 ")
    assert b"Connection: close\r\n" in late


class Flood:
    """Clients that ask as fast as they are answered, each on a connection of its own; every worker has some."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.statuses: Counter[int] = Counter()
        self.stopping = False
        self.began = time.monotonic()

    def again(self) -> None:
        self.statuses.clear()
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    async def client(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[number % len(self.ports)])
        while not self.stopping:
            writer.write(b"GET /items HTTP/1.1\r\nHost: x\r\nX-Client: ann\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            self.statuses[int(head[9:12])] += 1
            await asyncio.sleep(0.005)
        writer.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(folder=tmp_path / "redis", log=tmp_path / "redis.log").start()
    yield server
    server.stop()


async def test_two_workers_let_in_what_one_limit_allows_and_go_on_without_redis(own_redis: Redis) -> None:
    """Tolerance: a burst for each worker but the first. Alone, each worker allows what the limit says."""
    rate, burst, workers = 40.0, 20, 2
    async with staged(redis_url=own_redis.url) as one, staged(redis_url=own_redis.url) as other:
        for stage in (one, other):
            limit(stage, items_list=[Limit("reads", rate=rate, burst=burst, key=["header:x-client"])])
        flood = Flood([one.port, other.port])
        clients = [asyncio.create_task(flood.client(number)) for number in range(8)]
        await until(lambda: flood.seconds > 3, within=15)
        allowed, admitted = burst + rate * flood.seconds, flood.statuses[200]
        assert 0.7 * allowed <= admitted <= allowed + (workers - 1) * burst
        assert set(flood.statuses) == {200, 429}

        own_redis.process.kill()  # under traffic
        flood.again()
        await until(lambda: flood.seconds > 2, within=15)
        assert set(flood.statuses) == {200, 429}, "nobody is let down, and nobody gets all"
        assert 0.7 * rate * flood.seconds <= flood.statuses[200] <= workers * (burst + rate * flood.seconds)

        own_redis.process.wait()
        own_redis.start()  # without what it knew
        limiter = one.gateway.limiter
        await until(lambda: not any(bucket.alone for bucket in limiter._buckets.values()), within=15)
        flood.again()
        await until(lambda: flood.seconds > 2, within=15)
        flood.stopping = True
        await asyncio.gather(*clients)
        assert flood.statuses[200] <= rate * flood.seconds + workers * burst, "together again"
