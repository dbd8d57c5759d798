"""Sessions of the page: a signed cookie, an end, a bound, and a CSRF token that only our page knows."""

from __future__ import annotations

import pytest

from console.sessions import FAILURES, LASTS_S, MOST, WITHIN_S, Sessions, is_ours


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_cookie_finds_its_session_until_it_ends(clock: Clock) -> None:
    sessions = Sessions(clock)
    session, cookie = sessions.open("ann", "operator", "a-token")
    assert sessions.find(cookie) == session
    assert "a-token" not in cookie
    assert "a-token" not in repr(session)
    clock.now += LASTS_S + 1
    assert sessions.find(cookie) is None


@pytest.mark.parametrize("forged", [None, "", ".", "x.y", "é.ü"])
def test_what_was_not_signed_here_is_nobody(clock: Clock, forged: str | None) -> None:
    assert Sessions(clock).find(forged) is None


def test_a_cookie_with_another_s_signature_is_nobody(clock: Clock) -> None:
    sessions, others = Sessions(clock), Sessions(clock)
    one, cookie = sessions.open("ann", "operator", "t")
    _, other = others.open("bob", "operator", "t")
    assert sessions.find(f"{one.id}.{other.partition('.')[2]}") is None
    assert others.find(cookie) is None
    assert sessions.find(cookie[:-1] + ("0" if cookie[-1] != "0" else "1")) is None


def test_who_logs_out_is_nobody(clock: Clock) -> None:
    sessions = Sessions(clock)
    session, cookie = sessions.open("ann", "operator", "t")
    sessions.close(session)
    assert sessions.find(cookie) is None


def test_sessions_are_bounded_and_the_oldest_gives_way(clock: Clock) -> None:
    sessions = Sessions(clock)
    cookies = [sessions.open("ann", "operator", "t")[1] for _ in range(MOST + 1)]
    assert sessions.find(cookies[0]) is None
    assert sessions.find(cookies[1]) is not None


def test_a_form_is_ours_only_with_its_own_session_s_token(clock: Clock) -> None:
    sessions = Sessions(clock)
    mine, other = sessions.open("ann", "operator", "t")[0], sessions.open("bob", "operator", "t")[0]
    assert is_ours(mine, mine.csrf)
    for given in ("", other.csrf, mine.csrf + "x", "é"):
        assert not is_ours(mine, given)


def test_logins_that_fail_too_often_are_refused_for_a_minute(clock: Clock) -> None:
    sessions = Sessions(clock)
    for _ in range(FAILURES):
        assert sessions.may_try()
        sessions.failed()
    assert not sessions.may_try()
    clock.now += WITHIN_S + 1
    assert sessions.may_try()


def test_a_viewer_may_not_act(clock: Clock) -> None:
    assert not Sessions(clock).open("eve", "viewer", "t")[0].may_act
