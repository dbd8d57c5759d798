"""A client reads what it wrote, whichever side serves it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from time import time

import msgspec
import pytest

from gateway.control.table import Operation, Wave
from gateway.policies.owners import Owners
from gateway.routing.keys import identity
from tests.integration.gateway.stage import Stage, interpreted, reason, side, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, answering, hang, misdirected, response


async def test_after_its_write_a_client_reads_from_the_owner(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    me, other = {"X-Client": "me"}, {"X-Client": "other"}
    assert side(await stage.client.get("/items", headers=me)) == "service"
    assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
    answer = await stage.client.get("/items/1", headers=me)
    assert (side(answer), reason(answer)) == ("legacy", "pin")
    assert side(await stage.client.get("/items", headers=other)) == "service"
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0})
    assert side(await stage.client.get("/items", headers=me)) == "service", "the other side has the write by now"


async def test_a_write_that_names_no_client_is_read_from_the_owner_by_everybody(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    anyone = {"X-Client": "anyone"}
    assert side(await stage.client.get("/items/7", headers=anyone)) == "service"
    assert (await stage.client.post("/items", content=b"x")).status_code == 200
    answer = await stage.client.get("/items/7", headers=anyone)
    assert (side(answer), reason(answer)) == ("legacy", "pin")
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0})
    assert side(await stage.client.get("/items/7", headers=anyone)) == "service"


async def test_what_was_written_under_one_path_is_read_from_the_owner_under_another(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    assert (await stage.client.put("/shelves/7/label", content=b"x", headers={"X-Client": "me"})).status_code == 200
    answer = await stage.client.get("/labels/7", headers={"X-Client": "somebody else"})
    assert (side(answer), reason(answer)) == ("legacy", "pin")
    assert side(await stage.client.get("/labels/8", headers={"X-Client": "somebody else"})) == "service"


async def test_a_refused_write_pins_nobody(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    stage.legacy.handler = answering(422)
    await stage.client.post("/items", content=b"x", headers={"X-Client": "me"})
    assert side(await stage.client.get("/items", headers={"X-Client": "me"})) == "service"


async def test_a_read_of_ones_own_write_falls_back_only_when_legacy_has_it(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.gateway.take_watermarks({"shop.reverse": 0.0})
    me = {"X-Client": "me"}
    assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
    await stage.service.kill()
    assert side(await stage.client.get("/items", headers={"X-Client": "somebody else"})) == "legacy"
    mine = asyncio.create_task(stage.client.get("/items", headers=me))
    await until(lambda: len(stage.gateway.room) == 1)
    stage.gateway.take_watermarks({"shop.reverse": 1e12})
    answer = await mine
    assert (answer.status_code, side(answer)) == (200, "legacy")


async def test_a_fallback_waits_for_the_writes_of_before_it_and_not_for_those_that_follow(stage: Stage) -> None:
    async def only_writes(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(201 if seen.method == "POST" else 500))

    stage.wave(phase="service", owner="service")
    stage.gateway.take_watermarks({"shop.reverse": 0.0})
    stage.service.handler = only_writes
    assert (await stage.client.post("/items", content=b"x")).status_code == 201
    written = time()
    read = asyncio.create_task(stage.client.get("/items"))
    await until(lambda: len(stage.gateway.room) == 1)
    assert (await stage.client.post("/items", content=b"x")).status_code == 201
    assert not stage.legacy.seen
    stage.gateway.take_watermarks({"shop.reverse": written})
    answer = await read
    assert (answer.status_code, side(answer)) == (200, "legacy")


async def test_a_read_of_ones_own_write_that_legacy_never_gets_is_refused_and_not_stale() -> None:
    async with staged(patience=0.3) as stage:
        stage.wave(phase="service", owner="service")
        stage.gateway.take_watermarks({"shop.reverse": 0.0})
        me = {"X-Client": "me"}
        assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
        await stage.service.kill()
        answer = await stage.client.get("/items", headers=me)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_while_a_rollback_is_under_way_a_client_reads_what_it_wrote_at_the_service(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0, "shop.reverse": 0.0})
    me = {"X-Client": "me"}
    assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
    stage.wave(phase="service", owner="moving")
    assert side(await stage.client.get("/items", headers=me)) == "service"
    await stage.service.kill()
    mine = asyncio.create_task(stage.client.get("/items", headers=me))
    await until(lambda: mine.done() or len(stage.gateway.room) == 1)
    assert not mine.done(), "legacy does not have it yet"
    stage.gateway.take_watermarks({"shop.reverse": 4102444800.0})
    assert side(await mine) == "legacy"


async def test_who_wrote_since_the_hold_began_reads_by_the_table_that_ends_it(stage: Stage) -> None:
    """Another node that has the new table already may have passed the write to the new owner (`banyan model
    --mutant reads-go-on-by-a-held-table` has the trace)."""
    stage.gateway.owners = Owners(alone=False)
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0, "shop.reverse": 0.0})
    me, earlier, other = {"X-Client": "me"}, {"X-Client": "earlier"}, {"X-Client": "other"}
    stage.gateway.board.record("shop", [identity(b"earlier")])
    stage.wave(phase="canary", canary_percent=50, hold=True)
    assert (await stage.client.get("/items", headers=earlier)).status_code == 200, "it is where it was before the hold"
    stage.gateway.board.record("shop", [identity(b"me")])  # as another worker writes it, before it answers
    mine = asyncio.create_task(stage.client.get("/items", headers=me))
    await until(lambda: mine.done() or len(stage.gateway.room) == 1)
    assert not mine.done(), "no side is sure to have it"
    assert (await stage.client.get("/items", headers=other)).status_code == 200, "who wrote nothing is not kept waiting"
    stage.wave(phase="service", owner="service")
    assert side(await mine) == "service"


async def test_who_wrote_since_a_hold_that_nobody_ends_reads_once_both_sides_have_it(stage: Stage) -> None:
    stage.gateway.owners = Owners(alone=False)  # another node may know more
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0, "shop.reverse": 0.0})
    stage.wave(phase="canary", canary_percent=50, hold=True)
    stage.gateway.board.record("shop", [identity(b"me")])
    mine = asyncio.create_task(stage.client.get("/items", headers={"X-Client": "me"}))
    await until(lambda: mine.done() or len(stage.gateway.room) == 1)
    assert not mine.done()
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0, "shop.reverse": 4102444800.0})
    assert (await mine).status_code == 200


async def test_behind_a_hold_that_nobody_ends_and_without_watermarks_reads_go_to_the_owner_that_is_known() -> None:
    """A controller died in the middle of a switch, and Redis is away: each read of who had written was answered 503."""
    async with staged(hold_seconds=0.0, patience=0.3) as stage:
        stage.gateway.take_watermarks({})
        stage.wave(phase="canary", canary_percent=100, hold=True)
        me, other = {"X-Client": "me"}, {"X-Client": "other"}
        assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
        answer = await stage.client.get("/items", headers=me)
        assert (answer.status_code, side(answer), reason(answer)) == (200, "legacy", "rerouted")
        assert side(await stage.client.get("/items", headers=other)) == "service", "who wrote nothing reads as ever"


async def test_behind_a_hold_a_client_reads_at_the_owner_that_the_guard_has_named() -> None:
    async with staged(hold_seconds=0.0, patience=0.3) as stage:
        stage.gateway.take_watermarks({})
        stage.wave(phase="canary", canary_percent=50, hold=True)
        stage.legacy.handler = misdirected("service")
        me = {"X-Client": "me"}
        assert side(await stage.client.post("/items", content=b"x", headers=me)) == "service"
        answer = await stage.client.get("/items", headers=me)
        assert (answer.status_code, side(answer)) == (200, "service")
        asked = len(stage.legacy.seen)
        assert side(await stage.client.post("/items", content=b"x", headers=me)) == "service"
        assert len(stage.legacy.seen) == asked, "the next write goes there at once"


async def test_the_guard_of_another_domain_s_table_says_nothing_of_this_one_s_owner() -> None:
    async with staged(hold_seconds=0.0, patience=0.3) as stage:
        stage.gateway.take_watermarks({})
        stage.wave(phase="canary", canary_percent=50, hold=True)
        stage.legacy.handler = misdirected("service", wave="games/0")
        assert side(await stage.client.post("/items", content=b"x", headers={"X-Client": "me"})) == "service"
        assert stage.gateway.owners.newest("shop", 0, 0) == "legacy"


async def test_a_read_at_the_known_owner_that_fails_is_refused_and_not_answered_by_a_side_without_the_write() -> None:
    async with staged(hold_seconds=0.0, patience=0.3) as stage:
        stage.gateway.take_watermarks({})
        stage.wave(phase="canary", canary_percent=50, hold=True)
        stage.gateway.owners.learn("shop", 0, "service", 4)
        me = {"X-Client": "me"}
        assert side(await stage.client.post("/items", content=b"x", headers=me)) == "service"
        await stage.service.kill()
        answer = await stage.client.get("/items", headers=me)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert [seen.method for seen in stage.legacy.seen] == []


async def test_what_was_written_at_the_owner_of_one_wave_is_seen_by_a_read_of_all_waves(stage: Stage) -> None:
    table = stage.gateway.router.table
    shop = table.domains["shop"]
    waves = [Wave(0, 0, 512, phase="service", owner="service"), Wave(1, 512, 1024)]
    operations = [*shop.operations, Operation("items.all", "GET", "/all", "read")]
    domains = {"shop": msgspec.structs.replace(shop, waves=waves, operations=operations)}
    assert stage.gateway.swap(msgspec.structs.replace(table, version=2, domains=domains).validated())
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0, "shop.reverse": 0.0})
    me = {"X-Client": "a"}  # of the first wave
    assert side(await stage.client.post("/items", content=b"x", headers=me)) == "service"
    assert side(await stage.client.get("/all", headers={"X-Client": "another"})) == "legacy", "who wrote nothing"
    mine = asyncio.create_task(stage.client.get("/all", headers=me))
    await until(lambda: mine.done() or len(stage.gateway.room) == 1)
    assert not mine.done(), "legacy does not have it yet"
    stage.gateway.take_watermarks({"shop.reverse": 4102444800.0})
    assert side(await mine) == "legacy"


class Told:
    """Stands for the line to the other nodes."""

    def __init__(self) -> None:
        self.slots: list[int] = []

    def tell(self, slots: Sequence[int], then: Callable[[], None]) -> bool:
        self.slots += slots
        return False


async def test_a_write_that_never_left_pins_nobody() -> None:
    async with staged(patience=0.1) as stage:
        stage.wave(phase="canary", canary_percent=100)
        await stage.legacy.kill()
        me = {"X-Client": "me"}
        assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 503
        answer = await stage.client.get("/items", headers=me)
        assert (side(answer), reason(answer)) == ("service", "canary")


@interpreted
async def test_a_write_whose_answer_was_lost_pins_at_every_node(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.method == "POST":
            raise HangUp
        writer.write(response())

    stage.wave(phase="canary", canary_percent=100)
    stage.legacy.handler = breaks
    told = Told()
    monkeypatch.setattr(stage.gateway, "sharing", told)
    me = {"X-Client": "me"}
    assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 502
    assert told.slots
    assert reason(await stage.client.get("/items", headers=me)) == "pin"


@interpreted
async def test_a_write_whose_client_left_pins_at_every_node(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.wave(phase="canary", canary_percent=100)
    stage.legacy.handler = hang
    told = Told()
    monkeypatch.setattr(stage.gateway, "sharing", told)
    _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST /items HTTP/1.1\r\nHost: x\r\nX-Client: me\r\nContent-Length: 1\r\n\r\nx")
    await until(lambda: stage.legacy.seen)
    linger = struct.pack("ii", 1, 0)  # a reset: a half-closed connection may still wait for its answer
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()
    await until(lambda: not stage.gateway.active)
    assert told.slots
