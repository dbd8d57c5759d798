"""Copies of reads are compared with the other side, and cost the client nothing."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from gateway.control.comparison import Comparison, Tolerance, Unordered
from gateway.control.front import Facade
from gateway.shadow.shadow import RUNNING, WAITING
from tests.integration.gateway.stage import OPERATIONS, Stage, shadowed, until
from tests.integration.gateway.upstream import Handler, HangUp, Seen, answering, hang, response


def unique(body: bytes) -> Handler:
    """A server that puts another number into each answer."""
    numbers = itertools.count(1)

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=body % next(numbers)))

    return handler


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


async def test_a_field_that_legacy_itself_never_repeats_is_learned_as_noise(stage: Stage) -> None:
    """Without noise, everything would be unsettled for ever, and the real difference would be lost in it."""
    stage.wave(phase="shadow", shadow_percent=100)
    stage.legacy.handler = unique(b'{"price":1,"at":%d}')
    stage.service.handler = unique(b'{"price":2,"at":-%d}')
    for _ in range(8):
        compared = stage.event("shadow_compared")
        await stage.client.get("/items")
        await until(lambda: stage.event("shadow_compared") == compared + 1)  # noqa: B023
    await until(lambda: shadowed(stage)["twice"] >= 8)
    fields = {field["field"]: field["verdict"] for field in shadowed(stage)["fields"]}
    assert fields == {"$.price": "regression", "$.at": "noise"}
    stage.service.handler = unique(b'{"price":1,"at":-%d}')
    asked = len(stage.legacy.seen)
    await stage.client.get("/items")
    await until(lambda: shadowed(stage)["twice"] >= 9)
    assert stage.event("shadow_mismatched") == 8, "what differs in noise only is no mismatch"
    assert len(stage.legacy.seen) == asked + 3, "and need not be asked again: the client, and the noise, twice"


async def test_noise_is_learned_from_a_bounded_share_of_the_reads(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100, domain={"shadow_noise": 0})
    for _ in range(5):
        compared = stage.event("shadow_compared")
        await stage.client.get("/items")
        await until(lambda: stage.event("shadow_compared") == compared + 1)  # noqa: B023
    assert len(stage.legacy.seen) == 5


async def test_rules_of_the_plan_decide_what_differs_and_new_rules_begin_anew(stage: Stage) -> None:
    stage.legacy.handler = answering(body=b'{"id":1,"price":"1.00","parts":[{"n":1},{"n":2}]}')
    stage.service.handler = answering(body=b'{"id":2,"price":"1.01","parts":[{"n":2},{"n":1}]}')
    stage.wave(phase="shadow", shadow_percent=100, domain={"shadow_noise": 0})
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_mismatched") == 1)
    found = {field["field"]: field["kind"] for field in shadowed(stage)["fields"]}
    assert found == {"$.id": "primitive", "$.price": "primitive", "$.parts": "order"}
    rules = Comparison(
        ignore=("$.id",), tolerances=(Tolerance("$.price", absolute=0.02),), unordered=(Unordered("$.parts", "n"),)
    )
    stage.wave(phase="shadow", shadow_percent=100, domain={"shadow_noise": 0, "compare": rules})
    assert shadowed(stage)["compared"] == 0
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_compared") == 2)
    assert (shadowed(stage)["compared"], shadowed(stage)["fields"]) == (1, [])
    skipped = [msgspec.structs.replace(op, compare=Comparison(skip=True)) for op in OPERATIONS]
    stage.wave(phase="shadow", shadow_percent=100, domain={"operations": skipped})
    await stage.client.get("/items")
    assert stage.gateway.shadow._running == set()


async def test_packed_answers_are_compared_by_what_they_say(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100, domain={"shadow_noise": 0})
    stage.legacy.handler = answering(body=gzip.compress(b'{"a":1}'), Content_Encoding="gzip")
    stage.service.handler = answering(body=b'{"a": 1}')
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0
    stage.service.handler = answering(body=gzip.compress(b" " * (4 << 20)), Content_Encoding="gzip")
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_dropped") == 1)


@pytest.mark.parametrize("header", ["Range", "If-None-Match", "If-Modified-Since"])
async def test_an_answer_that_depends_on_what_the_client_has_is_not_compared(stage: Stage, header: str) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    await stage.client.get("/items", headers={header: "x"})
    assert (len(stage.legacy.seen), len(stage.service.seen)) == (1, 0)
    assert stage.gateway.shadow._running == set()


async def test_an_answer_that_broke_off_is_not_compared(stage: Stage) -> None:
    async def breaking(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        raise HangUp

    stage.legacy.handler = breaking
    stage.wave(phase="shadow", shadow_percent=100)
    with pytest.raises(httpx.TransportError):
        await stage.client.get("/items")
    assert len(stage.service.seen) == 0


async def lying(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """A different lie each time."""
    writer.write(response(body=json.dumps({f"x{n}": n for n in range(300)}).encode()))


async def garbage(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xffSSH-2.0\r\n\r\n" * 100)


async def endless(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def cut_short(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
    await writer.drain()
    raise HangUp


@pytest.mark.parametrize("handler", [hang, lying, garbage, endless, cut_short, None])
async def test_whatever_the_shadowed_side_does_clients_get_legacy_s_answers(
    stage: Stage, handler: Handler | None
) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    if handler is None:
        await stage.service.kill()
    else:
        stage.service.handler = handler
    stage.legacy.handler = answering(body=b'{"a":1}')
    for _ in range(60):
        said = await stage.client.get("/items")
        assert (said.status_code, said.content) == (200, b'{"a":1}')
    shadow = stage.gateway.shadow
    assert len(shadow._waiting) <= WAITING
    assert len(shadow._running) <= RUNNING
    if handler not in (hang, lying):
        await until(lambda: stage.event("shadow_dropped") > 0)
        assert stage.event("shadow_compared") == 0
    assert stage.gateway.breaker("shop", "service").closed, "what copies meet says nothing of clients' calls"


async def test_a_side_that_is_away_is_left_alone_for_a_while(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    port = stage.service.port
    await stage.service.kill()
    for _ in range(50):
        await stage.client.get("/items")
        await until(lambda: not stage.gateway.shadow._running)
    assert 3 <= stage.event("shadow_dropped") < 20
    stage.service.port = port
    await stage.service.start()

    async def compared() -> bool:
        await stage.client.get("/items")
        return stage.event("shadow_compared") > 0

    await until(compared)


async def test_a_table_without_shadow_asks_the_shadow_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.wave(phase="shadow", shadow_percent=0)
    monkeypatch.setattr(stage.gateway.shadow, "capture", None)
    assert (await stage.client.get("/items")).status_code == 200
    assert (await stage.client.put("/items/1", json={})).status_code == 200


class Polled(dict[str, float]):
    """Watermarks that count how often they were looked up."""

    looks = 0

    def get(self, name: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(name, default)


async def test_a_write_that_the_first_answer_already_holds_is_waited_for(stage: Stage) -> None:
    """The watermark must pass the moment of the answer, not that of the question."""
    stage.wave(phase="shadow", shadow_percent=100, domain={"shadow_noise": 0})
    across = False
    marks = stage.gateway.board.watermarks = Polled({"shop.forward": 0.0})

    async def writing(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(stage.legacy.seen) == 2:  # all but this write is across when it is asked
            marks["shop.forward"] = time.time()
        writer.write(response(body=b'{"v":2}'))

    async def lagging(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":2}' if across else b'{"v":1}'))

    stage.legacy.handler, stage.service.handler = writing, lagging
    await stage.client.get("/items")
    await until(lambda: marks.looks >= 8)
    assert len(stage.service.seen) == 1, "the service is not asked before the write is across"
    across = True
    marks["shop.forward"] = 1e12
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_field_that_moves_is_not_blamed_for_one_that_differs(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100, domain={"shadow_noise": 0})
    stage.legacy.handler = unique(b'{"price":1,"sold":%d}')
    stage.service.handler = unique(b'{"price":2,"sold":-%d}')
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_mismatched") == 1)
    assert [field["field"] for field in shadowed(stage)["fields"]] == ["$.price"]


@pytest.mark.parametrize("changes", [{"phase": "legacy", "shadow_percent": 100}, {"shadow_percent": 0}], ids=str)
async def test_a_read_is_not_asked_again_once_the_table_does_not_ask_for_copies(
    stage: Stage, changes: dict[str, Any]
) -> None:
    """Neither at the service nor at the monolith: it differed, and waits for the watermark when the table changes."""
    stage.wave(phase="shadow", shadow_percent=100)
    stage.gateway.take_watermarks({"shop.forward": 0.0})
    stage.legacy.handler = answering(body=b'{"v":2}')
    stage.service.handler = answering(body=b'{"v":1}')
    await stage.client.get("/items")
    await until(lambda: len(stage.legacy.seen) == 2)
    stage.wave(**{"phase": "shadow", **changes}, domain={"shadow_writes": 0})
    stage.gateway.take_watermarks({"shop.forward": 1e12})
    await until(lambda: not stage.gateway.shadow._running)
    assert (len(stage.legacy.seen), len(stage.service.seen)) == (2, 1)


def naming_itself(url: Callable[[], str], status: int = 200) -> Handler:
    """A server that tells clients its own address: in the body, and in two headers."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        at = url()
        body = f'{{"next":"{at}/items?after=1","esc":"{at.replace("/", chr(92) + "/")}"}}'.encode()
        head = {"Location": f"{at}/items/7", "Link": f"<{at}/next>; rel=next", "ETag": '"1"', "Content_MD5": "x"}
        writer.write(response(status, body, **head))

    return handler


@pytest.mark.parametrize("phase", [{"phase": "shadow"}, {"phase": "canary", "canary_percent": 100}], ids=str)
async def test_links_by_which_each_side_names_itself_are_compared_as_clients_see_them(
    stage: Stage, phase: dict[str, Any]
) -> None:
    rules = Comparison(headers=("location", "link", "etag"))
    stage.wave(**phase, shadow_percent=100, domain={"compare": rules})
    table = stage.gateway.router.table
    shown = Facade(links=["application/json"])
    assert stage.gateway.swap(msgspec.structs.replace(table, version=table.version + 1, facade=shown).validated())
    stage.legacy.handler = naming_itself(lambda: stage.legacy.url)
    stage.service.handler = naming_itself(lambda: stage.service.url)
    answer = await stage.client.get("/items", headers={"Host": "shop.example", "X-Client": "ann"})
    assert answer.json()["next"] == "http://shop.example/items?after=1"
    await until(lambda: stage.event("shadow_compared") == 1)
    assert (stage.event("shadow_mismatched"), shadowed(stage)["fields"]) == (0, [])
    stage.service.handler = naming_itself(lambda: stage.service.url + "/elsewhere")
    await stage.client.get("/items?q=1", headers={"Host": "shop.example", "X-Client": "ann"})
    await until(lambda: stage.event("shadow_mismatched") == 1)
    fields = {field["field"] for field in shadowed(stage)["fields"]}
    assert fields == {"header.location", "header.link", "$.next", "$.esc"}
