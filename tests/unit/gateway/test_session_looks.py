"""What made-up sessions can cost: a place among their like, a few looks for each address, and nobody else's login."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.auth import sessions as under_test
from gateway.auth.identity import Doubt, Identity
from gateway.auth.sessions import Sessions
from gateway.control.front import Session

AT_LEGACY = Session("cookie:session", "legacy", "/session")


async def answer(head: bytes) -> tuple[int, bytes]:
    """Knows every credential that begins with `real`; the one called `slow` gets no answer."""
    if b"session=slow" in head:
        raise TimeoutError
    return (200, b'{"id":7}') if b"session=real" in head else (401, b"")


def running(journey: Callable[[Sessions], Awaitable[None]], ask: under_test.Ask = answer) -> None:
    async def run() -> None:
        made = Sessions(AT_LEGACY, ask, lambda: b"legacy")
        await journey(made)
        made.close()

    asyncio.run(run())


async def learn(sessions: Sessions, credential: bytes) -> Identity | Doubt:
    done = asyncio.Event()
    assert sessions.ask(credential, done.set)
    await done.wait()
    return sessions.look(credential)


def test_made_up_sessions_push_no_real_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MOST_KEPT", 3)

    async def journey(sessions: Sessions) -> None:
        assert isinstance(await learn(sessions, b"real"), Identity)
        for number in range(10):
            assert await learn(sessions, b"false-%d" % number) is Doubt.FALSE
        assert isinstance(sessions.look(b"real"), Identity)
        assert sessions.look(b"false-0") is Doubt.UNASKED, "they are bounded too"

    running(journey)


def test_the_session_that_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MOST_KEPT", 2)

    async def journey(sessions: Sessions) -> None:
        await learn(sessions, b"real-1")
        await learn(sessions, b"real-2")
        sessions.look(b"real-1")
        await learn(sessions, b"real-3")
        assert isinstance(sessions.look(b"real-1"), Identity)
        assert sessions.look(b"real-2") is Doubt.UNASKED

    running(journey)


def test_one_slow_answer_is_that_credentials_alone_and_a_side_that_never_answers_is_left_alone() -> None:
    async def journey(sessions: Sessions) -> None:
        assert await learn(sessions, b"slow") is Doubt.AWAY
        assert isinstance(await learn(sessions, b"real"), Identity)
        for number in range(under_test.AWAY_AFTER):
            assert sessions.look(b"other") is Doubt.UNASKED
            assert await learn(sessions, b"slow-%d" % number) is Doubt.AWAY
        assert sessions.look(b"other") is Doubt.AWAY

    running(journey)


def test_one_address_has_a_share_of_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MOST_OF_ADDRESS", 2)
    released = asyncio.Event()

    async def waits(head: bytes) -> tuple[int, bytes]:
        await released.wait()
        return await answer(head)

    async def journey(sessions: Sessions) -> None:
        told: list[int] = []
        took = [sessions.ask(b"real-%d" % n, lambda n=n: told.append(n), b"mallory") for n in range(3)]  # type: ignore[misc]
        assert took == [True, True, False]
        assert sessions.ask(b"real-0", lambda: told.append(9), b"mallory"), "it is being asked already"
        assert sessions.ask(b"real-4", lambda: told.append(4), b"ann")
        released.set()
        async with asyncio.timeout(5):
            while len(told) < 4:
                await asyncio.sleep(0)
        assert sessions.ask(b"real-5", lambda: None, b"mallory"), "it has its share again"

    running(journey, waits)
