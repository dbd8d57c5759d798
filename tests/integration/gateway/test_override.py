"""A tester chooses the side of its reads; nobody else does."""

from __future__ import annotations

import asyncio
from time import time

from gateway.policies.override import sign
from tests.integration.gateway.stage import Stage, reason, side, staged, until

KEY = b"a key that no outsider can guess"


def header(domain: str = "shop", to: str = "service", key: bytes = KEY, seconds: int = 60) -> dict[str, str]:
    return {"Banyan-Override": sign(key, domain, to, int(time()) + seconds)}


async def test_a_tester_reads_from_the_side_of_its_choice_and_writes_to_the_owner() -> None:
    async with staged(override_key=KEY) as stage:
        read = await stage.client.get("/items", headers=header())
        assert (side(read), reason(read)) == ("service", "override")
        write = await stage.client.post("/items", headers=header(), content=b"x")
        assert (side(write), reason(write)) == ("legacy", "owner")
        assert side(await stage.client.get("/items")) == "legacy"
        stage.wave(phase="service", owner="service")
        assert side(await stage.client.get("/items", headers=header(to="legacy"))) == "legacy"
        for seen in (*stage.legacy.seen, *stage.service.seen):
            assert b"override" not in seen.head.lower(), "it is nobody's business behind the gateway"
        assert stage.event("overridden") == 2


async def test_what_is_forged_or_expired_is_ignored_counted_and_told() -> None:
    async with staged(override_key=KEY) as stage:
        for given, why in (
            (header(key=b"another key, as long as the other"), "forged"),
            (header(seconds=-1), "expired"),
            (header(domain="shoes"), "elsewhere"),
            ({"Banyan-Override": "side=service"}, "malformed"),
        ):
            answer = await stage.client.get("/items", headers=given)
            assert (side(answer), reason(answer)) == ("legacy", "phase")
            assert answer.headers["banyan-route"].endswith(f"; override={why}")
        assert stage.event("override_refused") == 4
        stage.wave(phase="retired", owner="service")
        answer = await stage.client.get("/items", headers=header(to="legacy"))
        assert side(answer) == "service", "there is no way back from a retired wave"
        assert side(await stage.client.get("/v2/items", headers=header(to="legacy"))) == "service"
        assert not any(b"override" in seen.head.lower() for seen in stage.legacy.seen)


async def test_without_a_key_there_are_no_overrides_and_none_goes_upstream(stage: Stage) -> None:
    answer = await stage.client.get("/items", headers=header())
    assert (side(answer), answer.headers["banyan-route"].count("override")) == ("legacy", 0)
    assert b"override" not in stage.legacy.seen[0].head.lower()


async def test_a_tester_who_wrote_at_the_owner_reads_from_the_other_side_when_that_one_has_it() -> None:
    me = {"X-Client": "me"}
    async with staged(override_key=KEY) as stage:
        for owner, stream, other in (("legacy", "forward", "service"), ("service", "reverse", "legacy")):
            stage.wave(phase="service" if owner == "service" else "legacy", owner=owner)
            stage.gateway.take_watermarks({f"shop.{stream}": 0.0})
            assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
            read = asyncio.create_task(stage.client.get("/items", headers={**me, **header(to=other)}))
            await until(lambda: read.done() or len(stage.gateway.room) == 1)  # noqa: B023
            assert not read.done(), "it would not show the tester's own write"
            stage.gateway.take_watermarks({f"shop.{stream}": 4102444800.0})
            assert (side(await read), reason(await read)) == (other, "override")
        stage.gateway.take_watermarks({"shop.reverse": 0.0})
        assert side(await stage.client.get("/items", headers={**me, **header()})) == "service", "the owner has it"
