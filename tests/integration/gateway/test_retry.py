"""What is sent again, and what never is."""

from __future__ import annotations

import asyncio
from time import monotonic

import msgspec
import pytest

from gateway.control.table import Operation
from gateway.http1.exchange import Exchange
from gateway.policies.retry import Cause
from tests.integration.gateway.stage import Stage, side, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, hang, response


async def test_a_write_waits_for_an_owner_that_is_starting_again(stage: Stage) -> None:
    await stage.legacy.kill()
    write = asyncio.create_task(stage.client.post("/items", content=b"x"))
    await until(lambda: stage.event("retried") > 1)
    await stage.legacy.start()
    answer = await write
    assert answer.status_code == 200
    assert len(stage.legacy.seen) == 1


async def test_a_write_to_a_dead_owner_ends_with_503_within_its_patience() -> None:
    async with staged(patience=0.3) as stage:
        await stage.legacy.kill()
        began = monotonic()
        answer = await stage.client.post("/items", content=b"x")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert monotonic() - began < 1.5


async def test_a_write_that_was_sent_is_not_sent_twice(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    stage.legacy.handler = handler
    assert (await stage.client.post("/items", content=b"x")).status_code == 502
    assert len(stage.legacy.seen) == 1


async def test_a_write_with_an_idempotency_key_is_sent_again_where_the_plan_says_that_its_server_knows_it(
    stage: Stage,
) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(stage.legacy.seen) == 1:
            raise HangUp
        writer.write(response(201))

    stage.legacy.handler = handler
    answer = await stage.client.post("/orders", content=b"x", headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201
    assert [seen.body for seen in stage.legacy.seen] == [b"x", b"x"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/orders", {}), ("/items", {"Idempotency-Key": "k"}), ("/elsewhere", {"Idempotency-Key": "k"})],
)
async def test_a_write_whose_server_may_do_it_twice_is_not_sent_again(
    stage: Stage, path: str, headers: dict[str, str]
) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    stage.legacy.handler = handler
    assert (await stage.client.post(path, content=b"x", headers=headers)).status_code == 502
    assert len(stage.legacy.seen) == 1


async def test_a_write_that_the_plan_calls_idempotent_is_sent_again(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(stage.legacy.seen) == 1:
            raise HangUp
        writer.write(response(200))

    stage.legacy.handler = handler
    assert (await stage.client.post("/bulk", content=b"x")).status_code == 200
    assert [seen.body for seen in stage.legacy.seen] == [b"x", b"x"]


async def test_connections_that_the_server_closed_while_idle_cost_nobody_a_request(stage: Stage) -> None:
    for _ in range(30):
        assert (await stage.client.get("/items")).status_code == 200
        stage.legacy.hang_up()
        assert (await stage.client.get("/items")).status_code == 200
        stage.legacy.hang_up()
        assert (await stage.client.post("/items", content=b"x")).status_code == 200


async def test_a_try_on_another_server_goes_by_the_newest_table_which_may_not_know_the_upstream(stage: Stage) -> None:
    lone = Operation("v2.slow", "GET", "/v2/slow", "read", native=True, try_timeout=0.2)
    stage.wave(phase="service", owner="service", domain={"operations": [lone]})
    stage.service.handler = hang
    asked = asyncio.create_task(stage.client.get("/v2/slow"))
    await until(lambda: stage.service.seen)
    table = stage.gateway.router.table
    upstreams = {"legacy": table.upstreams["legacy"]}
    left = msgspec.structs.replace(table, version=table.version + 1, upstreams=upstreams, domains={})
    assert stage.gateway.swap(left.validated())
    answer = await asked
    assert (answer.status_code, side(answer)) == (200, "legacy")


async def test_a_request_that_cannot_be_timed_out_does_not_stop_the_clock(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(exchange: Exchange, cause: Cause) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Exchange, "timed_out", fails)
    stage.wave(domain={"operations": [Operation("items.list", "GET", "/items", "read", timeout=0.1)]})
    stage.legacy.handler = hang
    asked = asyncio.create_task(stage.client.get("/items"))
    await until(lambda: stage.legacy.seen)
    await asyncio.sleep(0.4)
    before = stage.gateway.now
    await until(lambda: stage.gateway.now > before, within=1)
    asked.cancel()
