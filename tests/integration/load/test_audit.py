"""The audit finds what was lost or doubled in either database, and nothing else."""

import asyncio

import psycopg
import pytest

from load.audit import audit
from load.clients import Fleet
from load.memory import Quote
from tests.integration.load.shop import Shop, opened
from tests.integration.load.test_clients import run_until


@pytest.fixture(scope="module")
def written():
    """What a fleet wrote to a shop in a short time: (accepted, shop)."""
    shop = Shop()
    with opened(shop) as url:
        fleet = Fleet(url, "key", clients=4, rate=600, seed=11)
        asyncio.run(run_until(fleet, lambda s: s.requests >= 900))
    return fleet.accepted(), shop


@pytest.fixture
def sides(written, database, service_database):
    accepted, shop = written
    shop.pour(database, service_database)
    return accepted, database, service_database


def change(dsn: str, statement: str, values: object = None) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.execute(statement, values).rowcount == 1


def test_equal_databases_are_clean(sides):
    report = audit(*sides, wait_s=0)
    assert report.clean
    assert report.checked > 200
    assert any(key.hour.flag == "B" for key in sides[0].prices), "the repeated hour is among the prices"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM quote WHERE client_ref = %(ref)s",
        "UPDATE quote SET amount_cents = amount_cents + 1 WHERE client_ref = %(ref)s",
        "UPDATE price SET eur_mwh = eur_mwh + 0.01 WHERE (area, ts, hour_flag) = (%(area)s, %(ts)s, %(flag)s)",
        "DELETE FROM price WHERE (area, ts, hour_flag) = (%(area)s, %(ts)s, %(flag)s)",
        "UPDATE tariff_rate SET price_kwh = price_kwh + 0.00001 WHERE ctid = (SELECT min(ctid) FROM tariff_rate)",
        "DELETE FROM tariff WHERE ctid = (SELECT min(ctid) FROM tariff)",
    ],
)
def test_a_write_that_the_monolith_lost_is_found(sides, statement):
    accepted, legacy, pricing = sides
    ref, key = next(iter(accepted.quotes)), next(iter(accepted.prices))
    change(legacy, statement, {"ref": ref, "area": key.area, "ts": key.hour.ts, "flag": key.hour.flag})
    report = audit(accepted, legacy, pricing, wait_s=0)
    assert (report.lost_legacy, report.lost_service, report.doubled) == (1, 0, 0)
    assert report.samples[0].side == "legacy"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM quotes WHERE client_ref = %(ref)s",
        "UPDATE quotes SET amount = amount + 0.001 WHERE client_ref = %(ref)s",
        "UPDATE quotes SET customer_id = customer_id + 1 WHERE client_ref = %(ref)s",
        "UPDATE market_prices SET price = -price - 1 WHERE ctid = (SELECT min(ctid) FROM market_prices)",
        "UPDATE market_prices SET starts_at = starts_at + interval '1 year' WHERE ctid = (SELECT min(ctid) FROM"
        " market_prices)",
        "DELETE FROM tariff_rates WHERE ctid = (SELECT min(ctid) FROM tariff_rates)",
    ],
)
def test_a_write_that_the_service_lost_is_found(sides, statement):
    accepted, legacy, pricing = sides
    if "0.001" in statement:
        with psycopg.connect(pricing) as connection:
            connection.execute("ALTER TABLE quotes ALTER amount TYPE numeric(12,3)")
    change(pricing, statement, {"ref": next(iter(accepted.quotes))})
    report = audit(accepted, legacy, pricing, wait_s=0)
    assert (report.lost_legacy, report.lost_service, report.doubled) == (0, 1, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO quote SELECT * FROM quote WHERE client_ref = %(ref)s",
        "INSERT INTO quote SELECT id + 100000, NULL, customer_id, tariff_code, kwh, amount_cents FROM quote"
        " WHERE client_ref = %(ref)s",
        "INSERT INTO price SELECT * FROM price WHERE ctid = (SELECT min(ctid) FROM price)",
        "INSERT INTO tariff SELECT id + 1000, code FROM tariff WHERE ctid = (SELECT min(ctid) FROM tariff)",
    ],
)
def test_a_write_that_is_stored_twice_is_found(sides, statement):
    accepted, legacy, pricing = sides
    change(legacy, statement, {"ref": next(iter(accepted.quotes))})
    report = audit(accepted, legacy, pricing, wait_s=0)
    assert (report.lost, report.doubled) == (0, 1)
    assert "doubled" in str(report.samples[0])


def test_a_write_of_unknown_outcome_may_be_there_or_not_but_never_twice(sides):
    accepted, legacy, pricing = sides
    ref, quote = next(iter(accepted.quotes.items()))
    accepted.quotes.pop(ref)
    accepted.uncertain_quotes[ref] = Quote(ref, quote.customer_id, quote.tariff_code, quote.kwh)
    try:
        assert audit(accepted, legacy, pricing, wait_s=0).clean
        change(legacy, "DELETE FROM quote WHERE client_ref = %s", [ref])
        assert audit(accepted, legacy, pricing, wait_s=0).clean
        change(pricing, "INSERT INTO quotes SELECT * FROM quotes WHERE client_ref = %s", [ref])
        assert audit(accepted, legacy, pricing, wait_s=0).doubled == 1
    finally:
        accepted.uncertain_quotes.pop(ref)
        accepted.quotes[ref] = quote


def test_a_price_of_unknown_outcome_may_have_the_value_before_or_the_one_after(sides):
    accepted, legacy, pricing = sides
    key, history = next(iter(accepted.prices.items()))
    accepted.prices[key] = history.perhaps("999.99")
    values = [key.area, key.hour.ts, key.hour.flag]
    try:
        assert audit(accepted, legacy, pricing, wait_s=0).clean
        change(legacy, "UPDATE price SET eur_mwh = 999.99 WHERE (area, ts, hour_flag) = (%s, %s, %s)", values)
        assert audit(accepted, legacy, pricing, wait_s=0).clean
        change(legacy, "UPDATE price SET eur_mwh = 5 WHERE (area, ts, hour_flag) = (%s, %s, %s)", values)
        assert audit(accepted, legacy, pricing, wait_s=0).lost_legacy == 1
    finally:
        accepted.prices[key] = history


def test_the_audit_waits_for_a_side_that_lags(sides):
    accepted, legacy, pricing = sides
    ref, quote = next(iter(accepted.quotes.items()))
    change(pricing, "DELETE FROM quotes WHERE client_ref = %s", [ref])

    async def meanwhile():
        looking = asyncio.create_task(asyncio.to_thread(audit, accepted, legacy, pricing, wait_s=20))
        row = [quote.id, ref, quote.customer_id, quote.tariff_code, quote.kwh, quote.amount_cents / 100]
        await asyncio.to_thread(change, pricing, "INSERT INTO quotes VALUES (%s,%s,%s,%s,%s,%s)", row)
        return await looking

    assert asyncio.run(meanwhile()).clean
