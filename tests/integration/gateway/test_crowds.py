"""Crowds: a domain's bulkhead, a limit that follows latency, and what a side that hangs costs everybody else."""

from __future__ import annotations

import asyncio
import socket
import struct
from time import perf_counter

import httpx
import msgspec

from gateway.control.resilience import Breaker, Bulkhead, Shedding
from gateway.control.table import Domain, Operation, Wave
from tests.integration.gateway.stage import Stage, side, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, echo, response


def compartments(stage: Stage, bulkhead: Bulkhead | None) -> None:
    """A second domain beside the shop, both with such a bulkhead."""
    table = stage.gateway.router.table
    depot = Domain("shop", [Wave(0, 0, 1024)], [Operation("depot.get", "GET", "/depot", "read")], bulkhead=bulkhead)
    domains = {"shop": msgspec.structs.replace(table.domains["shop"], bulkhead=bulkhead), "depot": depot}
    changed = msgspec.structs.replace(table, version=table.version + 1, domains=domains)
    assert stage.gateway.swap(changed.validated())


def shedding(stage: Stage, rule: Shedding) -> None:
    table = stage.gateway.router.table
    upstreams = {name: msgspec.structs.replace(found, shedding=rule) for name, found in table.upstreams.items()}
    changed = msgspec.structs.replace(table, version=table.version + 1, upstreams=upstreams)
    assert stage.gateway.swap(changed.validated())


class Gate:
    """A server that answers when the test lets it, and knows how many it has at once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0
        self.most = 0

    async def __call__(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
        finally:
            self.inside -= 1
        writer.write(response())


def in_flight(stage: Stage, domain: str, side_: str) -> tuple[int, int]:
    door = next(d for d in stage.gateway.snapshot()["doors"] if (d["domain"], d["side"]) == (domain, side_))
    return door["in_flight"], door["waiting"]


async def test_beyond_its_bulkhead_a_domain_waits_and_beyond_its_queue_it_is_refused(stage: Stage) -> None:
    compartments(stage, Bulkhead(in_flight=3, waiting=2))
    stage.legacy.handler = gate = Gate()
    reads = [asyncio.create_task(stage.client.get("/items")) for _ in range(9)]
    await until(lambda: stage.event("bulkhead_full") == 4)
    await until(lambda: gate.inside == 3)
    assert in_flight(stage, "shop", "legacy") == (3, 2)
    gate.open.set()
    answers = await asyncio.gather(*reads)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [503] * 4
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 503)
    assert gate.most == 3
    assert in_flight(stage, "shop", "legacy") == (0, 0)
    assert stage.gateway.breaker("shop", "legacy").closed, "a crowd is not a failure"


async def test_whoever_leaves_its_queue_or_its_place_makes_room(stage: Stage) -> None:
    compartments(stage, Bulkhead(in_flight=1, waiting=1))
    stage.legacy.handler = gate = Gate()
    writers = []
    for place in ((1, 0), (1, 1)):
        _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"GET /items HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda place=place: in_flight(stage, "shop", "legacy") == place)
        writers.append(writer)
    for writer, place in zip(reversed(writers), ((1, 0), (0, 0)), strict=True):
        linger = struct.pack("ii", 1, 0)  # close by RST: a FIN may be half of a client that still waits
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await until(lambda place=place: in_flight(stage, "shop", "legacy") == place)
    gate.open.set()
    assert (await stage.client.get("/items")).status_code == 200


async def test_a_moment_at_the_limit_does_not_refuse_who_waits_in_the_queue(stage: Stage) -> None:
    compartments(stage, Bulkhead(in_flight=3, waiting=10))
    shedding(stage, Shedding(least=1, most=50))
    limiter = stage.gateway.pools["legacy"].limiter
    assert limiter is not None
    stage.legacy.handler = gate = Gate()
    reads = [asyncio.create_task(stage.client.get("/items")) for _ in range(9)]
    await until(lambda: gate.inside == 3 and in_flight(stage, "shop", "legacy") == (3, 6))
    limiter.limit = 1.0
    assert (await stage.client.get("/items")).status_code == 503, "who comes now is shed"
    gate.open.set()
    assert [answer.status_code for answer in await asyncio.gather(*reads)] == [200] * 9
    assert (stage.event("shed"), in_flight(stage, "shop", "legacy"), limiter.in_flight) == (1, (0, 0), 0)


async def test_who_waits_too_long_in_the_queue_is_told_so() -> None:
    async with staged(queue_timeout=0.3) as stage:
        compartments(stage, Bulkhead(in_flight=1, waiting=5))
        stage.legacy.handler = gate = Gate()
        first = asyncio.create_task(stage.client.get("/items"))
        await until(lambda: gate.inside == 1)
        answer = await stage.client.get("/items")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        gate.open.set()
        assert (await first).status_code == 200


async def test_a_write_in_the_queue_is_held_when_its_wave_begins_to_move(stage: Stage) -> None:
    compartments(stage, Bulkhead(in_flight=1, waiting=5))
    stage.legacy.handler = gate = Gate()
    first = asyncio.create_task(stage.client.get("/items"))
    await until(lambda: gate.inside == 1)
    write = asyncio.create_task(stage.client.post("/items", content=b"x"))
    await until(lambda: in_flight(stage, "shop", "legacy") == (1, 1))
    table = stage.gateway.router.table
    held = msgspec.structs.replace(
        table.domains["shop"], waves=[msgspec.structs.replace(table.domains["shop"].waves[0], hold=True)]
    )
    changed = msgspec.structs.replace(table, version=9, domains={**table.domains, "shop": held})
    assert stage.gateway.swap(changed)
    gate.open.set()
    assert (await first).status_code == 200
    await until(lambda: stage.event("held") == 1)
    assert [seen.method for seen in stage.legacy.seen] == ["GET"]
    freed = msgspec.structs.replace(
        held, waves=[msgspec.structs.replace(held.waves[0], hold=False, owner="service", phase="service")]
    )
    assert stage.gateway.swap(msgspec.structs.replace(changed, version=10, domains={**table.domains, "shop": freed}))
    assert side(await write) == "service"
    assert in_flight(stage, "shop", "legacy") == (0, 0)


async def p99(client: httpx.AsyncClient, path: str, n: int = 200) -> float:
    times = []
    for _ in range(n):
        began = perf_counter()
        assert (await client.get(path)).status_code == 200
        times.append(perf_counter() - began)
    return sorted(times)[int(n * 0.99) - 1]


async def test_a_domain_that_hangs_costs_another_one_on_the_same_servers_nothing() -> None:
    """One run: the depot's p99 while the shop works, and while 120 of the shop's requests hang at the same server."""
    async with (
        staged(queue_timeout=30) as stage,
        httpx.AsyncClient(
            base_url=str(stage.client.base_url), timeout=60, limits=httpx.Limits(max_connections=None)
        ) as crowd,
    ):
        compartments(stage, Bulkhead(in_flight=16, waiting=1000))
        gate = Gate()

        async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
            await (echo if seen.target == "/depot" else gate)(seen, writer)

        stage.legacy.handler = handler
        await p99(stage.client, "/depot", 50)
        quiet = await p99(stage.client, "/depot")
        hanging = [asyncio.create_task(crowd.get("/items")) for _ in range(120)]
        await until(lambda: in_flight(stage, "shop", "legacy") == (16, 104), within=20)
        crowded = await p99(stage.client, "/depot")
        assert gate.inside == 16
        assert crowded < 3 * quiet + 0.02, f"{quiet * 1000:.1f} ms became {crowded * 1000:.1f} ms"
        gate.open.set()
        assert {answer.status_code for answer in await asyncio.gather(*hanging)} == {200}


async def test_a_service_that_hangs_costs_legacy_nothing_and_its_readers_no_error() -> None:
    """One run: p99 of legacy's domain while the service works, and while it takes requests and never answers."""
    async with staged(read_timeout=0.5, breaker_reset=30.0) as stage:
        compartments(stage, Bulkhead(in_flight=16, waiting=16))
        stage.wave_of("shop", phase="service", owner="service")
        await p99(stage.client, "/depot", 50)
        quiet = await p99(stage.client, "/depot")
        stage.service.handler = gate = Gate()
        reads = [asyncio.create_task(stage.client.get("/items")) for _ in range(60)]
        crowded = await p99(stage.client, "/depot")
        answers = await asyncio.gather(*reads)
        assert {(answer.status_code, side(answer)) for answer in answers} == {(200, "legacy")}
        assert not stage.gateway.breaker("shop", "service").closed
        assert crowded < 3 * quiet + 0.05, f"{quiet * 1000:.1f} ms became {crowded * 1000:.1f} ms"
        gate.open.set()


async def test_a_server_that_gets_slower_with_each_request_is_kept_at_what_it_can_do(stage: Stage) -> None:
    """It works on 4 at a time; 48 clients ask without a pause. Shed ones are told to come again."""
    shedding(stage, Shedding(least=4, most=64))
    slots = asyncio.Semaphore(4)
    inside = 0
    most: list[int] = []

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal inside
        inside += 1
        most.append(inside)
        async with slots:
            await asyncio.sleep(0.05)
        inside -= 1
        writer.write(response())

    stage.legacy.handler = handler
    for _ in range(5):
        await stage.client.get("/items")  # what it does when it has time
    limiter = stage.gateway.pools["legacy"].limiter
    assert limiter is not None
    codes: set[int] = set()
    stop = asyncio.Event()

    async def ask(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            answer = await client.get("/items")
            codes.add(answer.status_code)
            if answer.status_code == 503:
                assert answer.headers["retry-after"] == "1"
                await asyncio.sleep(0.05)

    async with httpx.AsyncClient(base_url=str(stage.client.base_url), timeout=30) as crowd:
        asking = [asyncio.create_task(ask(crowd)) for _ in range(48)]
        await until(lambda: limiter.limit < 20, within=30)
        settled = len(most)
        await until(lambda: len(most) > settled + 60, within=20)
        stop.set()
        await asyncio.gather(*asking)
    assert codes == {200, 503}
    assert max(most[settled:]) <= 30, "4 at a time, twice as slow is tolerated, and some room to grow"
    assert stage.event("shed") > 0
    assert stage.gateway.breaker("shop", "legacy").closed
    assert limiter.in_flight == 0


async def test_writes_that_a_hold_lets_go_all_at_once_are_not_refused_by_the_bulkhead(stage: Stage) -> None:
    compartments(stage, Bulkhead(in_flight=2, waiting=0))
    stage.wave_of("shop", hold=True)
    writes = [asyncio.create_task(stage.client.post("/items", content=b"x")) for _ in range(20)]
    await until(lambda: stage.event("held") == 20)
    stage.wave_of("shop", hold=False)
    assert {(await write).status_code for write in writes} == {200}
    assert stage.event("bulkhead_full") == 0


async def test_what_has_waited_in_a_hold_is_not_shed(stage: Stage) -> None:
    shedding(stage, Shedding(least=1, most=1))
    stage.legacy.handler = gate = Gate()
    stage.wave(hold=True)
    held = asyncio.create_task(stage.client.post("/items", content=b"x"))
    await until(lambda: stage.event("held") == 1)
    full = [asyncio.create_task(stage.client.get("/items")) for _ in range(2)]
    await until(lambda: gate.inside == 1 and stage.event("shed") == 1)
    stage.wave(hold=False)
    await until(lambda: gate.inside == 2)
    gate.open.set()
    assert (await held).status_code == 200
    assert sorted([(await read).status_code for read in full]) == [200, 503]


async def test_a_tunnel_takes_no_place_from_requests(stage: Stage) -> None:
    async def switch(seen: Seen, writer: asyncio.StreamWriter) -> None:
        upgrades = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(upgrades if "upgrade" in seen.headers else response())

    stage.legacy.handler = switch
    compartments(stage, Bulkhead(in_flight=1, waiting=0))
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"GET /items HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b" 101 " in await reader.readline()
    assert (await stage.client.get("/items")).status_code == 200
    writer.close()
    await until(lambda: not stage.gateway.active)
    assert in_flight(stage, "shop", "legacy") == (0, 0)


async def test_a_read_that_fell_back_and_waits_for_a_place_does_not_ask_the_service_again(stage: Stage) -> None:
    stage.wave(phase="service", owner="service", domain={"breaker": Breaker(failures=1000, failure_percent=0)})
    compartments(stage, Bulkhead(in_flight=1, waiting=16))

    async def fails(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(500))

    async def slowly(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.03)
        writer.write(response())

    stage.service.handler, stage.legacy.handler = fails, slowly
    answers = await asyncio.gather(*(stage.client.get("/items") for _ in range(8)))
    assert [(answer.status_code, side(answer)) for answer in answers] == [(200, "legacy")] * 8
    assert len(stage.service.seen) == len(stage.legacy.seen) == 8


async def test_a_write_that_may_have_been_carried_out_is_not_said_to_be_undone_when_its_next_try_finds_no_place(
    stage: Stage,
) -> None:
    lost = asyncio.Event()

    async def loses_the_first(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if not lost.is_set():
            lost.set()
            raise HangUp
        await asyncio.sleep(0.3)
        writer.write(response())

    async def in_the_way() -> None:
        await lost.wait()
        await stage.client.get("/items")

    stage.legacy.handler = loses_the_first
    compartments(stage, Bulkhead(in_flight=1, waiting=0))
    answer, _ = await asyncio.gather(stage.client.put("/items/1", content=b"x"), in_the_way())
    assert stage.event("bulkhead_full") == 1
    assert answer.status_code == 502
    assert "not carried out" not in answer.text
