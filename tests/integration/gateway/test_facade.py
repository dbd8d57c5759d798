"""No answer shows where it came from, and no side gets the cookies of the other: through real sockets."""

from __future__ import annotations

import msgspec

from gateway.control.front import Facade, ShownCookie
from tests.integration.gateway.stage import Stage, until
from tests.integration.gateway.upstream import HangUp, Seen, answering


def facade(stage: Stage, facade: Facade | None = None, **cookies: list[str]) -> None:
    """Publish the next table: the facade's rules, and the cookies that each upstream may see."""
    table = stage.gateway.router.table
    upstreams = {
        name: msgspec.structs.replace(upstream, cookies=cookies.get(name, upstream.cookies))
        for name, upstream in table.upstreams.items()
    }
    changed = msgspec.structs.replace(table, version=table.version + 1, upstreams=upstreams, facade=facade)
    assert stage.gateway.swap(changed.validated())


async def test_a_redirect_leads_back_through_the_gateway(stage: Stage) -> None:
    for url in (stage.legacy.url, stage.service.url):
        stage.legacy.handler = answering(302, Location=f"{url}/items/7?x=1", Link=f"<{url}/next>; rel=next")
        answer = await stage.client.get("/items", headers={"Host": "shop.example"})
        assert answer.headers["location"] == "http://shop.example/items/7?x=1"
        assert answer.headers["link"] == "<http://shop.example/next>; rel=next"
        assert url.encode() not in b"".join(value for _, value in answer.headers.raw)


async def test_the_origin_of_the_plan_wins_over_what_a_client_says(stage: Stage) -> None:
    facade(stage, Facade(origin="https://shop.example", hosts=["old.internal"]))
    stage.legacy.handler = answering(302, Location="http://old.internal:7001/a", Alt_Svc='h3=":7001"')
    answer = await stage.client.get("/items", headers={"Host": "forged.example"})
    assert answer.headers["location"] == "https://shop.example/a"
    assert "alt-svc" not in answer.headers


async def test_a_cookie_set_for_the_backends_host_stays_with_the_client(stage: Stage) -> None:
    facade(stage, Facade(cookies={"session": ShownCookie(path="/")}))
    stage.legacy.handler = answering(Set_Cookie="session=1; Domain=127.0.0.1; Path=/old; HttpOnly")
    answer = await stage.client.get("/items", headers={"Host": "shop.example"})
    assert answer.headers["set-cookie"] == "session=1; HttpOnly; Path=/"


async def test_each_side_gets_its_own_cookies_also_after_a_fallback(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    facade(stage, None, legacy=["session", "old_*"], shop=["sid"])

    async def break_off(seen: Seen, writer: object) -> None:
        raise HangUp

    stage.service.handler = break_off
    answer = await stage.client.get("/items", headers={"Cookie": "session=1; sid=2; old_x=3; tracker=4"})
    assert answer.status_code == 200
    assert {seen.headers["cookie"] for seen in stage.service.seen} == {"sid=2"}
    assert [seen.headers["cookie"] for seen in stage.legacy.seen] == ["session=1; old_x=3"]
    await stage.client.get("/items", headers={"Cookie": "tracker=4"})
    assert "cookie" not in stage.legacy.seen[-1].headers


async def test_a_side_cannot_set_the_other_sides_session(stage: Stage) -> None:
    facade(stage, None, legacy=["sid"])
    stage.legacy.handler = answering(Set_Cookie="session=fixed; Path=/")
    assert "set-cookie" not in (await stage.client.get("/items")).headers


async def test_a_copy_for_the_other_side_carries_that_sides_cookies(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    facade(stage, None, legacy=["session"], shop=["sid"])
    await stage.client.get("/items", headers={"Cookie": "session=1; sid=2"})
    await until(lambda: stage.service.seen)
    assert stage.service.seen[0].headers["cookie"] == "sid=2"
    assert stage.service.seen[0].headers["banyan-shadow"] == "1"
    assert stage.legacy.seen[0].headers["cookie"] == "session=1"
