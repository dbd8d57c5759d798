"""A canary's share only grows, in an order that each domain has for itself; the bucket is the contract's."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.table import RouteTable, Wave
from gateway.routing.bucket import BUCKETS, bucket
from gateway.routing.canary import order, taken
from gateway.routing.router import Router
from tests.unit.gateway.tables import table

PERCENT = st.one_of(st.integers(0, 100), st.floats(0, 100, allow_nan=False))
EDGES = st.lists(st.integers(1, BUCKETS - 1), max_size=6, unique=True).map(lambda inner: [0, *sorted(inner), BUCKETS])
DOMAINS = st.from_regex(r"[a-z][a-z0-9_-]{0,39}", fullmatch=True)


def canaries(domain: str, edges: list[int], percents: list[float]) -> RouteTable:
    waves = [
        Wave(number, begin, end, "canary", percents[number % len(percents)])
        for number, (begin, end) in enumerate(pairwise(edges))
    ]
    first = table(*waves)
    return msgspec.structs.replace(first, domains={domain: first.domains["library"]}).validated()


def at_the_service(found: RouteTable) -> set[int]:
    route, _ = Router(found).match(b"GET", b"/books")
    return {number for number, slot in enumerate(route.slots) if slot.read.side == "service"}


@given(DOMAINS, EDGES, st.lists(st.tuples(PERCENT, PERCENT), min_size=1, max_size=7))
def test_no_wave_of_no_domain_loses_a_bucket_when_its_percentage_grows(
    domain: str, edges: list[int], pairs: list[tuple[float, float]]
) -> None:
    small = at_the_service(canaries(domain, edges, [min(pair) for pair in pairs]))
    large = at_the_service(canaries(domain, edges, [max(pair) for pair in pairs]))
    assert small <= large


@given(DOMAINS, EDGES, PERCENT, st.text(max_size=40))
def test_a_key_is_in_the_canary_if_its_bucket_is_and_takes_its_share_of_every_wave(
    domain: str, edges: list[int], percent: float, key: str
) -> None:
    route, _ = Router(canaries(domain, edges, [percent])).match(b"GET", b"/books")
    begin, end = next((b, e) for b, e in pairwise(edges) if b <= bucket(key) < e)
    among = taken(domain, begin, end, percent)
    assert (route.slot_for(key).read.side == "service") is (bucket(key) in among)
    assert abs(len(among) - percent * (end - begin) / 100) <= 1
    assert percent == 0 or among, "a canary of more than nothing takes somebody"


@given(DOMAINS, st.integers(0, 1023), st.integers(1, 1024))
def test_an_order_is_of_all_buckets_of_its_wave(domain: str, begin: int, size: int) -> None:
    end = min(BUCKETS, begin + size)
    assert sorted(order(domain, begin, end)) == list(range(begin, end))


def test_five_percent_are_a_part_of_twenty_and_those_of_fifty() -> None:
    five, twenty, fifty = (taken("pricing", 0, 1024, percent) for percent in (5, 20, 50))
    assert (len(five), len(twenty), len(fifty)) == (52, 205, 512)
    assert five < twenty < fifty


def test_who_is_first_in_one_domain_is_not_first_in_the_next() -> None:
    one, other = taken("pricing", 0, 1024, 20), taken("devices", 0, 1024, 20)
    # Independent choices of 205 among 1024 share 41 on average, with a deviation of 5.
    assert 16 < len(one & other) < 66


def test_the_order_is_the_same_on_every_node_and_after_every_restart() -> None:
    assert order("pricing", 0, 1024)[:4] == (664, 263, 199, 792)


@given(st.text(max_size=200))
def test_the_bucket_has_no_salt_so_that_databases_streams_and_gateway_agree(key: str) -> None:
    assert 0 <= bucket(key) < BUCKETS
    for domain in ("pricing", "devices"):
        route, _ = Router(canaries(domain, [0, 512, BUCKETS], [100])).match(b"GET", b"/books")
        assert route.slot_for(key) is route.slots[bucket(key)]
