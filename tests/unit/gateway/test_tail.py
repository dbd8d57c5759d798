"""What one who listens sees: filters that are refused or fit, and lines that are dropped rather than waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tail.listeners import MOST_IN_A_TICK, MOST_WAITING, Listener
from gateway.tail.wanted import BadFilter, Match, Wanted, wanted


def exchange(path: str = "/api/quotes", status: int = 200, method: str = "GET", side: str = "legacy") -> Any:
    """One that is over, as far as a filter looks at it."""
    request = SimpleNamespace(method=method.encode(), path=path.encode())
    decision = SimpleNamespace(domain="pricing", side=side)
    return cast("Any", SimpleNamespace(request=request, decision=decision, status=status))


@pytest.mark.parametrize(
    ("filters", "fitting"),
    [
        ({}, True),
        ({"domain": "pricing", "side": "legacy", "method": "get"}, True),
        ({"domain": "devices"}, False),
        ({"side": "service"}, False),
        ({"method": "POST"}, False),
        ({"status": "2xx"}, True),
        ({"status": "200"}, True),
        ({"status": "201"}, False),
        ({"min_status": "200"}, True),
        ({"min_status": "500"}, False),
        ({"path": "/api/quotes"}, True),
        ({"path": "/api"}, False),
        ({"path": "/api/*"}, True),
        ({"path": "*quotes"}, True),
        ({"path": "/*/quo*s"}, True),
        ({"path": "/api/quotes*es"}, False),
        ({"path": "/*x*"}, False),
    ],
)
def test_a_request_fits_when_it_meets_every_filter(filters: dict[str, str], fitting: bool) -> None:
    assert Match(wanted(filters)).fits(exchange()) is fitting


def test_a_client_that_left_is_no_failure_but_is_seen() -> None:
    assert Match(wanted({})).fits(exchange(status=0))
    assert not Match(wanted({"status": "5xx"})).fits(exchange(status=0))


@given(st.lists(st.text("ab/", max_size=4), min_size=2, max_size=5), st.text("ab/", max_size=30))
def test_stars_mean_what_they_mean_to_a_shell(pieces: list[str], path: str) -> None:
    from fnmatch import fnmatchcase

    pattern = "/" + "*".join(pieces)
    assert Match(Wanted(path=pattern)).fits(exchange("/" + path)) is fnmatchcase("/" + path, pattern)


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"status": "9xx"}, "5xx or a number"),
        ({"status": "5xx", "min_status": "500"}, "exclude"),
        ({"min_status": "many"}, "0..599"),
        ({"side": "left"}, "legacy or service"),
        ({"method": "BREW"}, "GET"),
        ({"path": "api"}, "begins with /"),
        ({"path": "/" + "a" * 600}, "512"),
        ({"sample": "0"}, "share"),
        ({"sample": "2"}, "share"),
        ({"sample": "nan"}, "share"),
        ({"colour": "red"}, "no filter colour"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_by_name(filters: dict[str, str], words: str) -> None:
    with pytest.raises(BadFilter, match=words):
        wanted(filters)


async def test_a_crowd_is_thinned_out_tick_by_tick_and_counted() -> None:
    listener = Listener(Wanted())
    for tick in (1.0, 1.1):
        took = [listener.takes(exchange(), tick) for _ in range(MOST_IN_A_TICK + 10)]
        assert took == [True] * MOST_IN_A_TICK + [False] * 10
    said = listener.taken()
    assert b'"event":"dropped","count":20}' in said
    assert listener.taken() == b""


async def test_who_does_not_read_has_a_bounded_number_of_lines_waiting() -> None:
    listener = Listener(Wanted())
    tick = 0.0
    for number in range(MOST_WAITING + 5):
        tick += 1
        if listener.takes(exchange(), tick):
            listener.add(b"%d\n" % number)
    lines = listener.taken().splitlines()
    assert len(lines) == MOST_WAITING + 1
    assert b'"count":5' in lines[-1]


async def test_a_sample_is_about_its_share() -> None:
    listener = Listener(Wanted(sample=0.25))
    took = sum(listener.takes(exchange(), float(tick)) for tick in range(4000))
    assert 800 < took < 1200
