"""Copies of reads are compared with the other side, and cost the client nothing."""

from __future__ import annotations

import asyncio
from time import monotonic

from tests.integration.gateway.stage import Stage, until
from tests.integration.gateway.upstream import Seen, answering, hang, response


async def test_shadow_copies_are_compared_and_differences_kept(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    stage.legacy.handler = answering(body=b'{"a":1,"b":[1,2]}')
    stage.service.handler = answering(body=b'{"b":[1,2], "a":1}')
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0
    stage.service.handler = answering(body=b'{"a":1,"b":[1,3]}')
    await stage.client.get("/items?q=1")
    await until(lambda: stage.event("shadow_mismatched") == 1)
    (sample,) = stage.gateway.shadow.referee.samples
    assert (sample["operation"], sample["method"], sample["target"]) == ("items.list", "GET", "/items?q=1")
    assert sample["fields"] == [{"field": "$.b[*]", "kind": "primitive", "legacy": "2", "service": "3"}]
    assert (sample["legacy"]["body"], sample["service"]["body"]) == ('{"a":1,"b":[1,2]}', '{"a":1,"b":[1,3]}')
    assert stage.service.seen[0].headers["banyan-shadow"] == "1"


async def test_a_difference_that_is_only_lag_is_no_mismatch(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    stage.legacy.handler = answering(body=b'{"v":2}')

    async def catching_up(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":1}' if len(stage.service.seen) == 1 else b'{"v":2}'))

    stage.service.handler = catching_up
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_resource_that_never_stands_still_is_unsettled_and_no_mismatch(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)

    async def counting(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":%d}' % len(stage.legacy.seen)))

    stage.legacy.handler = counting
    stage.service.handler = answering(body=b'{"v":0}')
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_unsettled") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_difference_is_judged_only_when_the_watermark_has_passed(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    stage.gateway.take_watermarks({"shop.forward": 0.0})
    stage.legacy.handler = answering(body=b'{"v":2}')
    behind = True

    async def lagging(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":1}' if behind else b'{"v":2}'))

    stage.service.handler = lagging
    await stage.client.get("/items")
    await until(lambda: len(stage.legacy.seen) == 2)
    assert stage.event("shadow_compared") == 0
    behind = False
    stage.gateway.take_watermarks({"shop.forward": 1e12})
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_canary_that_lags_behind_the_owner_is_no_mismatch(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100, shadow_percent=100)
    stage.gateway.take_watermarks({"shop.forward": 0.0, "shop.reverse": 1e12})
    stage.legacy.handler = answering(body=b'{"v":2}')
    behind = True

    async def lagging(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":1}' if behind else b'{"v":2}'))

    stage.service.handler = lagging
    await stage.client.get("/items", headers={"X-Client": "ann"})
    await until(lambda: len(stage.service.seen) == 2)
    assert stage.event("shadow_compared") == 0
    behind = False
    stage.gateway.take_watermarks({"shop.forward": 1e12, "shop.reverse": 1e12})
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_nothing_is_said_of_answers_while_a_sync_does_not_catch_up(stage: Stage, monkeypatch) -> None:
    monkeypatch.setattr("gateway.shadow.referee.PATIENCE", 0.2)
    stage.wave(phase="shadow", shadow_percent=100)
    stage.gateway.take_watermarks({"shop.forward": 0.0})
    stage.legacy.handler = answering(body=b'{"v":2}')
    stage.service.handler = answering(body=b'{"v":1}')
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_unsettled") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_shadowed_side_that_hangs_slows_no_client(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    stage.service.handler = hang
    began = monotonic()
    for _ in range(200):
        assert (await stage.client.get("/items")).status_code == 200
    assert monotonic() - began < 5
    assert len(stage.gateway.shadow._waiting) <= 64
