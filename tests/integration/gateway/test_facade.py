"""No answer shows where it came from, and no side gets the cookies of the other: through real sockets."""

from __future__ import annotations

import asyncio
from asyncio import StreamWriter

import msgspec

from gateway.control.front import Facade, ShownCookie
from tests.integration.gateway.stage import Stage, until
from tests.integration.gateway.upstream import Handler, HangUp, Seen, answering, response


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


LINKS = Facade(links=["application/json", "text/html"], link_bytes=2000)


async def test_links_in_bodies_are_rewritten_by_rule_however_they_come(stage: Stage) -> None:
    facade(stage, LINKS)
    body = f'{{"next":"{stage.legacy.url}/items?after=1","esc":"{stage.service.url.replace("/", chr(92) + "/")}\\/x"}}'
    right = b'{"next":"http://shop.example/items?after=1","esc":"http:\\/\\/shop.example\\/x"}'
    headers = {"Host": "shop.example", "Accept-Encoding": "gzip"}

    async def whole(seen: Seen, writer: StreamWriter) -> None:
        writer.write(response(body=body.encode(), ETag='"1"', Content_MD5="x"))

    async def in_pieces(seen: Seen, writer: StreamWriter) -> None:
        head, _, rest = response(body=body.encode(), ETag='"1"').partition(b"\r\n\r\n")
        for piece in (head + b"\r\n\r\n", rest[:20], rest[20:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async def chunked(seen: Seen, writer: StreamWriter) -> None:
        raw = body.encode()
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "1"\r\n')
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (raw[:20], raw[20:]):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    for handler in (whole, in_pieces, chunked):
        stage.legacy.handler = handler
        for method in ("GET", "POST"):
            answer = await stage.client.request(method, "/items", headers=headers)
            assert answer.content == right
            assert answer.headers["etag"] == 'W/"1"'
            assert answer.headers["content-length"] == str(len(right))
            assert "content-md5" not in answer.headers
    assert all("accept-encoding" not in seen.headers for seen in stage.legacy.seen)


async def test_a_body_that_is_too_long_or_of_another_kind_passes_as_it_came(stage: Stage) -> None:
    facade(stage, LINKS)
    long = stage.legacy.url.encode() + b" " * 3000

    async def endless(seen: Seen, writer: StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n")
        for at in range(0, len(long), 500):
            writer.write(long[at : at + 500])
            await writer.drain()
        raise HangUp

    stage.legacy.handler = endless
    assert (await stage.client.get("/items")).content == long
    assert stage.event("links_too_long") == 1
    stage.legacy.handler = answering(body=long)
    assert (await stage.client.get("/items")).content == long
    short = stage.legacy.url.encode()
    for line in (b"Content-Type: text/html\r\nContent-Encoding: br", b"Content-Type: text/plain"):
        stage.legacy.handler = _saying(line, short)
        raw = await stage.raw(b"GET /items HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert raw.endswith(b"\r\n\r\n" + short)


def _saying(lines: bytes, body: bytes) -> Handler:
    async def handler(seen: Seen, writer: StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (lines, len(body), body))

    return handler


async def test_a_body_cut_off_while_it_is_gathered_is_no_answer(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    facade(stage, LINKS)

    async def cut(seen: Seen, writer: StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        raise HangUp

    stage.service.handler = cut
    answer = await stage.client.get("/items")
    assert (answer.status_code, answer.content) == (200, b"{}"), "legacy answers: nothing had gone out yet"
