"""Several equal servers behind one side: who is asked, who is left out, and what one that fails costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.control.resilience import Outliers
from tests.integration.gateway.stage import Stage, side, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, Upstream, answering, hang, response


@pytest.fixture
async def second() -> AsyncIterator[Upstream]:
    server = await Upstream().start()
    yield server
    await server.kill()


def both(stage: Stage, second: Upstream, **outliers: float) -> None:
    """Legacy has two servers."""
    table = stage.gateway.router.table
    legacy = msgspec.structs.replace(
        table.upstreams["legacy"], urls=[stage.legacy.url, second.url], outliers=Outliers(**outliers)
    )
    changed = msgspec.structs.replace(table, version=table.version + 1, upstreams={**table.upstreams, "legacy": legacy})
    assert stage.gateway.swap(changed.validated())


async def test_the_less_busy_of_two_is_taken(stage: Stage, second: Upstream) -> None:
    both(stage, second)
    release = asyncio.Event()

    async def slow(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(response())

    stage.legacy.handler = slow
    reads = [asyncio.create_task(stage.client.get("/items")) for _ in range(30)]
    await until(lambda: sum(task.done() for task in reads) + len(stage.legacy.seen) == 30)
    waiting = len(stage.legacy.seen)
    for _ in range(30):
        assert (await stage.client.get("/items")).status_code == 200
    assert len(stage.legacy.seen) == waiting, "who has requests waiting gets no more while the other is free"
    release.set()
    assert {(await read).status_code for read in reads} == {200}


async def test_a_dead_server_among_two_costs_no_client_anything(stage: Stage, second: Upstream) -> None:
    both(stage, second)
    await second.kill()
    for n in range(30):
        assert (await stage.client.get("/items")).status_code == 200
        assert (await stage.client.post("/items", content=b"%d" % n)).status_code == 200
    assert len([seen for seen in stage.legacy.seen if seen.method == "POST"]) == 30
    assert stage.gateway.breaker("shop", "legacy", read=False).closed


async def test_an_idempotent_request_goes_to_the_other_server_when_one_breaks(stage: Stage, second: Upstream) -> None:
    both(stage, second, failures=1000)

    async def breaks(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    second.handler = breaks
    for _ in range(12):
        assert (await stage.client.put("/items/1", content=b"x")).status_code == 200
    assert second.seen, "it was asked first now and then"
    assert len(stage.legacy.seen) == 12


async def test_a_write_that_may_be_done_twice_stays_with_the_server_that_broke(stage: Stage, second: Upstream) -> None:
    both(stage, second, failures=1000)

    async def breaks(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    stage.legacy.handler = second.handler = breaks
    assert (await stage.client.post("/items", content=b"x")).status_code == 502
    assert len(stage.legacy.seen) + len(second.seen) == 1


async def test_a_server_that_keeps_failing_is_left_out_and_comes_back(stage: Stage, second: Upstream) -> None:
    both(stage, second, failures=3, seconds=0.5, slow_start=0)
    second.handler = answering(503, b"{}", Retry_After="9")
    pool = stage.gateway.pools["legacy"]
    while not pool.snapshot()["ejected"]:
        await stage.client.get("/items")
    asked = len(second.seen)
    assert asked == 3
    assert [(await stage.client.get("/items")).status_code for _ in range(10)] == [200] * 10
    assert len(second.seen) == asked
    second.handler = answering(200)
    await until(lambda: not pool.snapshot()["ejected"])

    async def is_asked_again() -> bool:
        await stage.client.get("/items")
        return len(second.seen) > asked

    await until(is_asked_again)


async def test_when_all_servers_fail_the_last_one_in_is_asked_on(stage: Stage, second: Upstream) -> None:
    both(stage, second, failures=2, seconds=60)
    stage.legacy.handler = second.handler = answering(503, b"{}", Retry_After="9")
    for _ in range(30):
        assert (await stage.client.get("/items")).status_code == 503
    assert stage.gateway.pools["legacy"].snapshot()["ejected"] == 1
    stage.legacy.handler = second.handler = answering(200)
    assert (await stage.client.get("/items")).status_code == 200


async def test_an_idempotent_request_that_gets_a_gateway_error_is_tried_once_more(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(503 if len(stage.legacy.seen) == 1 else 200))

    stage.legacy.handler = handler
    assert (await stage.client.get("/items")).status_code == 200
    assert len(stage.legacy.seen) == 2


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_second_gateway_error_is_passed_on(stage: Stage, status: int) -> None:
    stage.legacy.handler = answering(status, b"sorry")
    answer = await stage.client.get("/items")
    assert (answer.status_code, answer.content) == (status, b"sorry")
    assert len(stage.legacy.seen) == 2


async def test_a_server_that_says_when_to_come_again_means_the_client(stage: Stage) -> None:
    stage.legacy.handler = answering(503, Retry_After="120")
    answer = await stage.client.get("/items")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "120")
    assert len(stage.legacy.seen) == 1


async def test_a_write_that_gets_a_gateway_error_is_not_tried_again(stage: Stage) -> None:
    stage.legacy.handler = answering(503)
    assert (await stage.client.post("/items", content=b"x")).status_code == 503
    assert len(stage.legacy.seen) == 1


async def test_retries_of_errors_stay_within_the_budget(stage: Stage) -> None:
    table = stage.gateway.router.table
    frugal = msgspec.structs.replace(table.domains["shop"], retry_percent=0)
    assert stage.gateway.swap(msgspec.structs.replace(table, version=2, domains={"shop": frugal}).validated())
    stage.legacy.handler = answering(503)
    for _ in range(5):
        assert (await stage.client.get("/items")).status_code == 503
    assert len(stage.legacy.seen) == 5


async def test_a_side_that_hangs_is_not_waited_for_by_every_write_once_its_breaker_is_open() -> None:
    async with staged(read_timeout=0.3, patience=0.1, breaker_reset=30) as stage:
        stage.legacy.handler = hang
        answers = await asyncio.gather(*(stage.client.post("/items", content=b"x") for _ in range(5)))
        assert {answer.status_code for answer in answers} == {504}
        assert not stage.gateway.breaker("shop", "legacy", read=False).closed
        answer = await stage.client.post("/items", content=b"x")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert len(stage.legacy.seen) == 5, "it was not asked"


async def test_a_page_that_hangs_does_not_close_the_rest_of_the_monolith() -> None:
    async with staged(read_timeout=0.3, breaker_reset=30) as stage:

        async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if seen.target == "/hangs":
                await hang(seen, writer)
            writer.write(response())

        stage.legacy.handler = handler
        answers = await asyncio.gather(*(stage.client.get("/hangs") for _ in range(6)))
        assert {answer.status_code for answer in answers} == {504}
        assert not stage.gateway.breaker("default", "legacy").closed
        assert (await stage.client.get("/elsewhere")).status_code == 200


async def test_writes_that_hang_do_not_take_the_reads_from_the_service() -> None:
    async with staged(read_timeout=0.3, patience=0.1, breaker_reset=30) as stage:
        stage.wave(phase="service", owner="service")

        async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if seen.method == "POST":
                await hang(seen, writer)
            writer.write(response())

        stage.service.handler = handler
        await asyncio.gather(*(stage.client.post("/items", content=b"x") for _ in range(6)))
        assert not stage.gateway.breaker("shop", "service", read=False).closed
        answer = await stage.client.get("/items")
        assert (answer.status_code, side(answer)) == (200, "service")
