"""Legacy answers the reads of a service that fails, and a breaker spares the service."""

from __future__ import annotations

import asyncio

from gateway.http1.endpoint import PoolLimits
from tests.integration.gateway.stage import Stage, reason, side, staged, until
from tests.integration.gateway.upstream import Seen, answering, hang, response


async def test_a_read_falls_back_to_legacy_when_the_service_is_killed(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    assert side(await stage.client.get("/items")) == "service"
    await stage.service.kill()
    reasons = []
    for _ in range(30):
        answer = await stage.client.get("/items")
        assert (answer.status_code, side(answer)) == (200, "legacy")
        reasons.append(reason(answer))
    assert "fallback" in reasons
    assert reasons[-1] == "breaker-open", "a dead service is no longer asked"
    await stage.service.start()

    async def is_back() -> bool:
        return side(await stage.client.get("/items")) == "service"

    await until(is_back)
    assert stage.gateway.breaker("shop", "service").state == "closed"


async def test_a_read_falls_back_when_the_service_answers_500(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.service.handler = answering(500)
    answer = await stage.client.get("/items")
    assert (answer.status_code, side(answer), reason(answer)) == (200, "legacy", "fallback")


async def test_a_read_of_a_retired_wave_has_no_way_back(stage: Stage) -> None:
    stage.wave(phase="retired", owner="service")
    stage.service.handler = answering(500)
    assert (await stage.client.get("/items")).status_code == 500
    assert not stage.legacy.seen


async def test_a_sick_service_gets_no_reads_though_its_port_is_open(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.service.sick = True
    await until(lambda: not stage.gateway.pools["shop"].healthy)
    answer = await stage.client.get("/items")
    assert (side(answer), reason(answer)) == ("legacy", "breaker-open")
    assert not stage.service.seen


async def test_a_slow_read_of_the_service_is_answered_by_legacy() -> None:
    async with staged(read_timeout=0.3) as stage:
        stage.wave(phase="service", owner="service")
        stage.service.handler = hang
        answer = await stage.client.get("/items")
        assert (answer.status_code, side(answer), reason(answer)) == (200, "legacy", "fallback")


async def test_requests_beyond_the_connections_wait_and_time_out_in_their_place() -> None:
    async with staged(read_timeout=0.4) as stage:
        stage.wave(phase="service", owner="service")
        endpoint = stage.gateway.pools["shop"].endpoints[0]
        endpoint._limits = PoolLimits(connections=2, waiting=3)
        stage.service.handler = hang
        reads = await asyncio.gather(*(stage.client.get("/items") for _ in range(8)))
        assert {(answer.status_code, side(answer)) for answer in reads} == {(200, "legacy")}
        assert len(stage.service.seen) == 2
        assert endpoint.open <= 2


async def test_errors_of_a_page_of_the_monolith_do_not_close_the_monolith(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(500 if seen.target == "/broken" else 200))

    stage.legacy.handler = handler
    for _ in range(20):
        assert (await stage.client.get("/broken")).status_code == 500
    assert (await stage.client.get("/elsewhere")).status_code == 200


async def test_a_service_whose_reads_fail_still_gets_its_writes(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(500 if seen.method == "GET" else 201))

    stage.service.handler = handler
    for _ in range(20):
        read = await stage.client.get("/items")
        assert (read.status_code, side(read)) == (200, "legacy")
        assert (await stage.client.post("/items", content=b"x")).status_code == 201
