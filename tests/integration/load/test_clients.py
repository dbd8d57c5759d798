"""The clients keep trying what may be tried, count what they see, and remember what was accepted."""

import asyncio
import time
from collections import Counter

import pytest

from load.clients import Fleet, FleetError
from tests.integration.load.shop import Shop, opened


async def run_until(fleet: Fleet, enough, seconds: float = 20.0):
    """Let the fleet run until `enough(stats)`; returns its last figures."""
    stop = asyncio.Event()
    running = asyncio.create_task(fleet.run(stop))
    deadline = time.monotonic() + seconds
    while not running.done() and not enough(fleet.stats()):
        assert time.monotonic() < deadline, fleet.stats()
        await asyncio.sleep(0.01)
    stop.set()
    await running
    await fleet.settle()
    return fleet.stats()


async def test_a_fleet_keeps_its_rate_and_reads_and_writes_without_failure():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=6, rate=150, seed=3)
        began = time.monotonic()
        stats = await run_until(fleet, lambda s: s.requests >= 300)
        rate = stats.requests / (time.monotonic() - began)
    assert (stats.failed, stats.stale_reads, stats.samples) == (0, 0, ())
    assert stats.ok == stats.requests == sum(stats.by_side.values()) == stats.by_side["service"]
    assert 100 < rate < 180
    assert 0.2 < len(fleet.accepted()) / stats.requests < 0.4
    assert 0 < stats.p50_ms <= stats.p99_ms <= stats.max_latency_ms


async def test_every_accepted_write_is_remembered_as_the_server_keeps_it():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=4, rate=400, seed=4)
        await run_until(fleet, lambda s: s.requests >= 400)
    accepted = fleet.accepted()
    assert {q.client_ref: (q.id, q.amount_cents) for q in accepted.quotes.values()} == {
        key: (q["id"], q["amount_cents"]) for key, q in shop.quotes.items()
    }
    assert {(k.area, k.hour.ts, k.hour.flag): h.accepted for k, h in accepted.prices.items()} == shop.prices
    assert set(accepted.rates) == set(shop.tariffs)
    assert len({key.area for key in accepted.prices}) == 4, "every client writes keys of its own"


async def test_a_busy_answer_is_waited_for_and_the_same_request_sent_again():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=2, rate=200, seed=5)
        shop.faults.extend(["", "", *["busy"] * 10])
        stats = await run_until(fleet, lambda s: not shop.faults and s.requests >= 100)
    assert stats.failed == 0
    assert stats.by_status[503] == 10
    assert 1 <= stats.retried <= 10
    sent = Counter(key for _, _, key in shop.requests if key)
    assert max(sent.values()) > 1 or any(m == "PUT" for m, _, _ in shop.requests)
    assert len(shop.quotes) == len(fleet.accepted().quotes)


async def test_a_write_whose_answer_was_lost_is_sent_again_with_the_same_key_and_stored_once():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=1, rate=300, seed=6)
        shop.faults.extend(["", *["cut"] * 4])
        stats = await run_until(fleet, lambda s: not shop.faults and s.requests >= 60)
    assert stats.failed == 0
    assert stats.connection_errors == 4
    assert stats.by_status[0] == 4
    assert set(shop.quotes) == set(fleet.accepted().quotes)


async def test_a_gateway_that_lost_its_server_is_asked_again_since_the_write_may_be_done_or_not():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=2, rate=200, seed=12)
        shop.faults.extend(["", "", *["lost"] * 6])
        stats = await run_until(fleet, lambda s: not shop.faults and s.requests >= 80)
    assert stats.failed == 0
    assert stats.by_status[502] == 6
    assert stats.retried >= 1
    assert set(shop.quotes) == set(fleet.accepted().quotes)


async def test_a_wrong_answer_counts_as_failed_and_leaves_a_sample_and_an_uncertain_write():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=1, rate=300, seed=7)
        shop.faults.extend(["", *["broken"] * 30])
        stats = await run_until(fleet, lambda s: not shop.faults and s.requests >= 120)
    assert stats.failed == 30 == stats.by_status[500]
    assert len(stats.samples) == 20
    assert {(s.status, s.request_id, s.client) for s in stats.samples} == {(500, "r-1", "C000")}
    assert fleet.accepted().uncertain_quotes


async def test_a_write_that_was_accepted_but_not_kept_shows_as_a_stale_read():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=1, rate=400, seed=8)
        shop.faults.extend(["", *["forgets"] * 40])
        stats = await run_until(fleet, lambda s: s.stale_reads > 0 and not shop.faults)
    assert stats.failed == 0
    assert "does not show" in stats.samples[-1].detail


async def test_patience_ends_and_the_write_is_uncertain():
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=1, rate=50, seed=9, patience_s=0.3)
        shop.faults.extend(["", *["busy"] * 30])
        stats = await run_until(fleet, lambda s: s.failed >= 1)
    assert 0.2 <= stats.max_latency_ms / 1000 < 2
    assert stats.by_status[503] >= 3


async def test_a_fleet_says_why_it_cannot_start(free_port_number):
    with pytest.raises(FleetError, match="gateway does not answer"):
        await Fleet(f"http://127.0.0.1:{free_port_number}", "key", clients=1, rate=1).run(asyncio.Event())
    with pytest.raises(ValueError, match="base URL"):
        Fleet("https://example.test/x", "key")
    with pytest.raises(ValueError, match="999 clients"):
        Fleet("http://127.0.0.1:1", "key", clients=0)
