"""A login at either side is valid at the other: the gateway asks the side that knows the session, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control.front import Session
from tests.integration.gateway.logins import KEY, believe, caller
from tests.integration.gateway.stage import Stage, side, staged, until
from tests.integration.gateway.upstream import HangUp, Seen, Upstream, echo, response

AT_LEGACY = Session("cookie:session", "legacy", "/session", subject="customer_id", ttl=60)
AT_SERVICE = Session("cookie:sid", "shop", "/whoami", ttl=60)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(assertion_key=KEY, state_dir=tmp_path, health_interval=60) as made:
        made.legacy.handler = knowing("/session", "session", {"ann": b'{"customer_id":7}'})
        made.service.handler = knowing("/whoami", "sid", {"bob": b'{"id":"8"}'})
        yield made


def knowing(path: str, cookie: str, sessions: dict[str, bytes]):  # type: ignore[no-untyped-def]
    """A server that can read its own sessions."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.target != path:
            writer.write(response(body=b"{}"))
            return
        value = seen.headers.get("cookie", "").removeprefix(f"{cookie}=")
        found = sessions.get(value)
        writer.write(response(200 if found else 401, found or b"{}"))

    return handler


def asked(server: Upstream) -> list[Seen]:
    return [seen for seen in server.seen if seen.target in ("/session", "/whoami")]


def served(server: Upstream) -> list[Seen]:
    return [seen for seen in server.seen if seen.target not in ("/session", "/whoami")]


def cookie(**given: str) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in given.items())}


async def test_a_login_at_legacy_is_valid_at_the_service(stage: Stage) -> None:
    believe(stage, sessions=(AT_LEGACY,), identity=("shop",))
    stage.wave(phase="service", owner="service")
    answers = await asyncio.gather(
        *(stage.client.get("/items", headers=cookie(session="ann", x="1")) for _ in range(8))
    )
    assert {side(answer) for answer in answers} == {"service"}
    assert {caller(seen, "shop") for seen in served(stage.service)} == {("customer", "7")}
    assert len(asked(stage.legacy)) == 1, "once for all that wait, and for all that follow"
    assert asked(stage.legacy)[0].headers["cookie"] == "session=ann", "and nothing else is shown to it"


async def test_a_login_at_the_service_is_valid_at_legacy(stage: Stage) -> None:
    believe(stage, sessions=(AT_LEGACY, AT_SERVICE), identity=("legacy", "shop"))
    assert side(await stage.client.get("/items", headers=cookie(sid="bob"))) == "legacy"
    assert caller(served(stage.legacy)[0], "legacy") == ("customer", "8")
    await stage.client.get("/items", headers=cookie(session="ann"))
    assert "banyan-identity" not in served(stage.legacy)[1].headers, "legacy reads its own"
    assert not asked(stage.legacy)


async def test_a_write_that_waits_for_the_look_keeps_its_body(stage: Stage) -> None:
    believe(stage, sessions=(AT_LEGACY,), identity=("shop",))
    stage.wave(phase="service", owner="service")
    await stage.client.post("/items", content=b"x" * 100_000, headers=cookie(session="ann"))
    assert served(stage.service)[0].body == b"x" * 100_000
    assert caller(served(stage.service)[0], "shop") == ("customer", "7")


async def test_a_session_that_nobody_knows_names_nobody(stage: Stage) -> None:
    believe(stage, sessions=(AT_LEGACY,), identity=("shop",), required=("items.get",))
    stage.wave(phase="service", owner="service")
    assert (await stage.client.get("/items", headers=cookie(session="forged"))).status_code == 200
    assert "banyan-identity" not in served(stage.service)[0].headers
    assert (await stage.client.get("/items/1", headers=cookie(session="forged"))).status_code == 401
    assert (await stage.client.get("/items/1", headers=cookie(session="ann"))).status_code == 200


async def test_a_logout_is_known_at_once(stage: Stage) -> None:
    believe(stage, sessions=(AT_LEGACY,), identity=("shop",))
    stage.wave(phase="service", owner="service")
    await stage.client.get("/items", headers=cookie(session="ann"))

    async def log_out(seen: Seen, writer: asyncio.StreamWriter) -> None:
        gone = seen.target == "/session"
        writer.write(response(401 if gone else 200, Set_Cookie="session=; Max-Age=0; Path=/"))

    stage.legacy.handler = log_out
    await stage.client.post("/logout", headers=cookie(session="ann"))
    await stage.client.get("/items", headers=cookie(session="ann"))
    assert [caller(seen, "shop") for seen in served(stage.service)] == [("customer", "7"), None]


async def test_when_legacy_is_away_known_sessions_hold_and_the_service_learns_that_others_cannot_be_read(
    stage: Stage,
) -> None:
    brief = Session("cookie:session", "legacy", "/session", subject="customer_id", ttl=0)
    believe(stage, sessions=(brief,), identity=("shop",), required=("items.get",))
    stage.wave(phase="service", owner="service")
    await stage.client.get("/items", headers=cookie(session="ann"))

    async def break_off(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    stage.legacy.handler = break_off

    async def refreshed() -> bool:
        before = len(asked(stage.legacy))
        answer = await stage.client.get("/items", headers=cookie(session="ann"))
        assert answer.status_code == 200
        assert caller(served(stage.service)[-1], "shop") == ("customer", "7")
        return len(asked(stage.legacy)) > before  # it was asked again, in vain

    await until(refreshed)
    assert (await stage.client.get("/items", headers=cookie(session="new"))).status_code == 200, "anybody may read"
    assert served(stage.service)[-1].headers["banyan-identity"] == "away"
    refused = await stage.client.get("/items/1", headers=cookie(session="new"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    before = len(asked(stage.legacy))
    for number in range(20):
        await stage.client.get("/items", headers=cookie(session=f"new-{number}"))
    assert len(asked(stage.legacy)) <= before + 2, "a dead side is not asked for each caller"


async def test_a_legacy_that_hangs_costs_the_service_one_wait(stage: Stage) -> None:
    believe(stage, sessions=(AT_LEGACY,), identity=("shop",))
    stage.wave(phase="service", owner="service")
    released = asyncio.Event()

    async def hang_session(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.target == "/session":
            await released.wait()
        await echo(seen, writer)

    stage.legacy.handler = hang_session
    statuses = await asyncio.gather(*(_get(stage, cookie(session=f"s{number}")) for number in range(10)))
    assert set(statuses) == {200}
    assert {seen.headers["banyan-identity"] for seen in served(stage.service)} == {"away"}
    released.set()


async def _get(stage: Stage, headers: dict[str, str]) -> int:
    return (await stage.client.get("/items", headers=headers)).status_code


async def test_a_copy_for_the_other_side_says_who_calls_too(stage: Stage) -> None:
    """Else every copy would be answered 401, and count as a mismatch."""
    believe(stage, sessions=(AT_LEGACY,), identity=("shop",))
    stage.wave(phase="shadow", shadow_percent=100)

    async def compared() -> bool:
        await stage.client.get("/items", headers=cookie(session="ann"))
        return bool(served(stage.service))

    await until(compared)
    assert {caller(seen, "shop") for seen in served(stage.service)} == {("customer", "7")}
    assert stage.event("shadow_dropped") >= 1, "the first one only asked who it is"
