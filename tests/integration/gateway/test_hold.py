"""Writes wait while their wave changes hands, and not for ever."""

from __future__ import annotations

import asyncio
from time import monotonic

from tests.integration.gateway.stage import Stage, side, staged, until
from tests.integration.gateway.upstream import Seen, misdirected, response


async def test_a_write_during_a_hold_waits_and_is_released_to_the_new_owner(stage: Stage) -> None:
    stage.wave(hold=True)
    writes = [asyncio.create_task(stage.client.post("/items", content=b"%d" % n)) for n in range(20)]
    await until(lambda: len(stage.gateway.room) == 20)
    assert not stage.legacy.seen
    stage.wave(phase="service", owner="service", epoch=1, hold=False)
    answers = await asyncio.gather(*writes)
    assert {answer.status_code for answer in answers} == {200}
    assert {side(answer) for answer in answers} == {"service"}
    assert sorted(int(seen.body) for seen in stage.service.seen) == list(range(20))
    assert not stage.legacy.seen
    assert stage.event("held") == 20


async def test_a_hold_that_lasts_too_long_ends_with_503_and_the_write_was_sent_to_nobody() -> None:
    async with staged(patience=0.15) as stage:
        stage.wave(hold=True)
        answer = await stage.client.post("/items", content=b"x")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        stage.wave(hold=False)
        assert not stage.legacy.seen
        assert stage.event("held_refused") == 1


async def test_a_hold_that_nobody_ends_is_honoured_for_a_bounded_time() -> None:
    async with staged(hold_seconds=0.3, patience=5.0) as stage:
        stage.wave(hold=True)
        began = monotonic()
        answer = await stage.client.post("/items", content=b"x")
        assert (answer.status_code, side(answer)) == (200, "legacy")
        assert 0.3 <= monotonic() - began < 2
        began = monotonic()
        assert (await stage.client.post("/items", content=b"x")).status_code == 200
        assert monotonic() - began < 0.3, "who comes after its end does not wait"
        assert stage.event("hold_expired") == 2


async def test_after_the_end_of_a_hold_the_database_says_who_the_owner_is() -> None:
    async with staged(hold_seconds=0.1, patience=5.0) as stage:
        stage.wave(owner="moving")
        owner = "moving"

        async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(response(421, Banyan_Owner=owner))

        stage.legacy.handler = handler
        write = asyncio.create_task(stage.client.post("/items", content=b"x"))
        await until(lambda: len(stage.legacy.seen) >= 2)
        owner = "service"
        answer = await write
        assert (answer.status_code, side(answer)) == (200, "service")
        assert stage.event("hold_expired") == 1


async def test_reads_are_not_held(stage: Stage) -> None:
    stage.wave(hold=True)
    assert (await stage.client.get("/items")).status_code == 200


async def test_a_client_that_leaves_during_a_hold_is_forgotten(stage: Stage) -> None:
    stage.wave(hold=True)
    _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    await until(lambda: len(stage.gateway.room) == 1)
    writer.close()
    await until(lambda: len(stage.gateway.room) == 0)
    stage.wave(hold=False)
    assert (await stage.client.get("/items")).status_code == 200
    assert [seen.method for seen in stage.legacy.seen] == ["GET"]


async def test_a_write_that_worked_for_longer_than_its_patience_before_its_wave_moved_still_waits_for_the_owner() -> (
    None
):
    async with staged(patience=0.3) as stage:
        began = monotonic()
        finish = asyncio.Event()

        async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if len(stage.legacy.seen) == 1:
                await finish.wait()
                writer.write(response(421, Banyan_Owner="moving"))
            else:
                writer.write(response(201))

        stage.legacy.handler = handler
        write = asyncio.create_task(stage.client.post("/items", content=b"x"))
        await until(lambda: monotonic() - began > 0.5)
        finish.set()
        assert (await write).status_code == 201
        assert len(stage.legacy.seen) == 2


async def test_patience_ends_with_the_time_that_a_request_may_take_in_all() -> None:
    async with staged(patience=10.0, total_timeout=0.3) as stage:
        stage.legacy.handler = misdirected("moving")
        began = monotonic()
        answer = await stage.client.post("/items", content=b"x")
        assert answer.status_code in (503, 504)
        assert monotonic() - began < 2
        assert len(stage.gateway.room) == 0
        assert not stage.gateway.active
