"""Writes at legacy are done again at the service as dry runs, where the table says so, and the answers are compared."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.control.comparison import Comparison
from tests.integration.gateway.stage import Stage, shadowed, until
from tests.integration.gateway.upstream import Handler, Seen, answering, response


def rehearsing(stage: Stage, share: float = 100, rehearses: bool = True, **changes: Any) -> None:
    """Publish a table by which writes are rehearsed."""
    table = stage.gateway.router.table
    shop = msgspec.structs.replace(table.upstreams["shop"], rehearses=rehearses)
    table = msgspec.structs.replace(table, version=table.version + 1, upstreams={**table.upstreams, "shop": shop})
    assert stage.gateway.swap(table.validated())
    stage.wave(**{"phase": "shadow", **changes}, domain={"shadow_writes": share})


def echoing(*bodies: bytes, status: int = 200) -> Handler:
    """A service that rehearses: one body after the other, the last for ever."""
    left = list(bodies)

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        body = left.pop(0) if len(left) > 1 else left[0]
        writer.write(response(status, body, Banyan_Dry_Run="1"))

    return handler


async def test_a_write_is_rehearsed_at_the_service_with_its_body_after_legacy_has_done_it(stage: Stage) -> None:
    rehearsing(stage)
    stage.legacy.handler = answering(201, b'{"id":7,"name":"a"}')
    stage.service.handler = echoing(b'{"id":1000000007,"name":"a"}', status=201)
    said = await stage.client.post("/items", json={"name": "a"}, headers={"X-Client": "ann"})
    assert (said.status_code, said.json()["id"]) == (201, 7)
    await until(lambda: stage.event("shadow_mismatched") == 1)
    dry = stage.service.seen[0]
    assert (dry.line, dry.body) == ("POST /items HTTP/1.1", stage.legacy.seen[0].body)
    assert (dry.headers["banyan-dry-run"], dry.headers["x-client"]) == ("1", "ann")
    assert all(seen.headers["banyan-dry-run"] == "1" for seen in stage.service.seen)
    assert "banyan-dry-run" not in stage.legacy.seen[0].headers
    assert len(stage.legacy.seen) == 1, "a write is never asked twice at legacy"
    assert [field["field"] for field in shadowed(stage)["fields"]] == ["$.id"]
    (sample,) = stage.gateway.shadow.referee.samples
    assert (sample["method"], sample["operation"]) == ("POST", "items.add")


async def test_ids_that_each_side_makes_itself_are_ignored_by_a_rule(stage: Stage) -> None:
    rehearsing(stage)
    shop = stage.gateway.router.table.domains["shop"]
    rules = Comparison(ignore=("$.id",))
    stage.wave(phase="shadow", domain={"shadow_writes": 100, "compare": rules})
    assert shop.compare != rules
    stage.legacy.handler = answering(body=b'{"id":7,"name":"a"}')
    stage.service.handler = echoing(b'{"id":8,"name":"a"}')
    await stage.client.put("/items/7", json={"name": "a"})
    await until(lambda: stage.event("shadow_rehearsed") == 1)
    assert (stage.event("shadow_compared"), stage.event("shadow_mismatched")) == (1, 0)


async def test_a_body_sent_in_chunks_is_rehearsed_whole(stage: Stage) -> None:
    rehearsing(stage)
    stage.service.handler = echoing(b"{}")
    stage.legacy.handler = answering(body=b"{}")

    async def pieces() -> Any:
        for piece in (b'{"a"', b":1", b"}"):
            yield piece

    await stage.client.post("/bulk", content=pieces())
    await until(lambda: stage.event("shadow_rehearsed") == 1)
    assert stage.service.seen[0].body == b'{"a":1}'


async def test_a_dry_run_that_only_met_the_world_before_the_write_arrived_is_no_mismatch(stage: Stage) -> None:
    rehearsing(stage)
    stage.legacy.handler = answering(body=b'{"total":2}')
    stage.service.handler = echoing(b'{"total":1}', b'{"total":2}')
    await stage.client.put("/items/7", json={})
    await until(lambda: stage.event("shadow_compared") == 1)
    assert (stage.event("shadow_mismatched"), len(stage.service.seen)) == (0, 2)


async def test_a_service_that_ignores_the_header_is_never_asked_again(stage: Stage) -> None:
    rehearsing(stage)
    stage.legacy.handler = stage.service.handler = answering(body=b"{}")
    for _ in range(3):
        await stage.client.put("/items/7", json={})
        await until(lambda: stage.event("shadow_unrehearsed") == 1 and not stage.gateway.shadow._running)
    assert len(stage.service.seen) == 1
    assert shadowed(stage)["refusing"]
    rehearsing(stage)
    await stage.client.put("/items/7", json={})
    assert not stage.gateway.shadow._running, "a new table is no reason to trust it"
    rehearsing(stage, share=0)
    rehearsing(stage)
    stage.service.handler = echoing(b"{}")
    await stage.client.put("/items/7", json={})
    await until(lambda: stage.event("shadow_rehearsed") == 1)


async def test_of_many_writes_at_once_a_service_that_ignores_the_header_gets_one(stage: Stage) -> None:
    rehearsing(stage)
    stage.legacy.handler = stage.service.handler = answering(body=b"{}")
    await asyncio.gather(*(stage.client.put("/items/7", json={}) for _ in range(20)))
    await until(lambda: stage.event("shadow_unrehearsed") == 1 and not stage.gateway.shadow._running)
    assert len(stage.service.seen) == 1


async def test_a_dry_run_that_the_service_s_guard_refuses_says_nothing(stage: Stage) -> None:
    rehearsing(stage)
    stage.legacy.handler = answering(body=b"{}")
    stage.service.handler = echoing(b"{}", status=421)
    await stage.client.put("/items/7", json={})
    await until(lambda: stage.event("shadow_unrehearsed") == 1)
    assert stage.event("shadow_compared") == 0
    assert not shadowed(stage)["refusing"]


@pytest.mark.parametrize(
    "changes",
    [
        {"share": 0},
        {"phase": "legacy"},
        {"owner": "service", "phase": "service"},
        {"owner": "service", "phase": "canary", "canary_percent": 10},
    ],
    ids=str,
)
async def test_no_write_is_rehearsed(stage: Stage, changes: dict[str, Any]) -> None:
    """By default, before shadow, or to the monolith, which would do it."""
    rehearsing(stage, **changes)
    stage.legacy.handler = stage.service.handler = answering(body=b"{}")
    await stage.client.put("/items/7", json={})
    assert not stage.gateway.shadow._running
    assert len(stage.legacy.seen) + len(stage.service.seen) == 1
    assert all("banyan-dry-run" not in seen.headers for seen in stage.legacy.seen + stage.service.seen)


async def test_a_write_that_failed_is_not_rehearsed(stage: Stage) -> None:
    rehearsing(stage)
    stage.legacy.handler = answering(409)
    await stage.client.put("/items/7", json={})
    assert not stage.gateway.shadow._running
    assert stage.service.seen == []


async def test_nothing_is_rehearsed_in_a_hold(stage: Stage) -> None:
    """Also not what was queued before the hold began."""
    rehearsing(stage)
    stage.legacy.handler = answering(body=b"{}")
    queued = asyncio.Event()

    async def waiting(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await queued.wait()
        writer.write(response(body=b"{}", Banyan_Dry_Run="1"))

    stage.service.handler = waiting
    for _ in range(12):
        await stage.client.put("/items/7", json={})
    await until(lambda: len(stage.service.seen) == 1)
    rehearsing(stage, hold=True)
    queued.set()
    await until(lambda: not stage.gateway.shadow._running)
    assert len(stage.service.seen) == 1


async def test_a_body_too_long_to_keep_is_not_rehearsed(stage: Stage) -> None:
    rehearsing(stage)
    stage.legacy.handler = answering(body=b"{}")
    await stage.client.put("/items/7", content=b"x" * 300_000)
    assert not stage.gateway.shadow._running
    assert stage.service.seen == []


@pytest.mark.parametrize(
    "changes",
    [{"share": 0}, {"phase": "legacy"}, {"hold": True}, {"phase": "service", "owner": "service"}],
    ids=str,
)
async def test_a_write_is_not_rehearsed_again_once_the_table_does_not_ask_for_it(
    stage: Stage, changes: dict[str, Any]
) -> None:
    """It differed, and waits for the watermark when the table changes."""
    rehearsing(stage)
    stage.gateway.take_watermarks({"shop.forward": 0.0})
    stage.legacy.handler = answering(body=b'{"total":2}')
    stage.service.handler = echoing(b'{"total":1}')
    await stage.client.put("/items/7", json={})
    await until(lambda: len(stage.service.seen) == 1)
    rehearsing(stage, **changes)
    stage.gateway.take_watermarks({"shop.forward": 1e12})
    await until(lambda: not stage.gateway.shadow._running)
    assert len(stage.service.seen) == 1
    assert (stage.event("shadow_compared"), stage.event("shadow_dropped")) == (0, 0)


async def test_what_waits_for_its_turn_is_left_when_writes_are_no_longer_rehearsed_but_reads_still_copied(
    stage: Stage,
) -> None:
    rehearsing(stage)
    stage.legacy.handler = answering(body=b"{}")
    queued = asyncio.Event()

    async def waiting(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await queued.wait()
        writer.write(response(body=b"{}", Banyan_Dry_Run="1"))

    stage.service.handler = waiting
    for _ in range(12):
        await stage.client.put("/items/7", json={})
    await until(lambda: len(stage.service.seen) == 1)
    stage.wave(phase="shadow", shadow_percent=100, domain={"shadow_writes": 0})
    queued.set()
    await until(lambda: not stage.gateway.shadow._running)
    assert len(stage.service.seen) == 1
