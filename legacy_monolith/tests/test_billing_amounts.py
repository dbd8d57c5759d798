"""Invoices against an independent computation with Decimal, also on the days of 23 and 25 hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import psycopg
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from legacy_monolith import localtime
from legacy_monolith.billing.run import run
from legacy_monolith.migrate import migrate
from legacy_monolith.settings import sqlalchemy_url
from legacy_monolith.tests.conftest import BACKOFFICE_KEY

ORDINARY, SPRING, AUTUMN = date(2024, 5, 2), date(2024, 3, 31), date(2024, 10, 27)
HOURS = {ORDINARY: 24, SPRING: 23, AUTUMN: 25}
LONG_AGO = datetime(2020, 1, 1)


def hours_of(day: date) -> list[tuple[datetime, str]]:
    """(local time, flag) of each hour of the local day, by walking through UTC."""
    begin, end = (localtime.to_utc(datetime(d.year, d.month, d.day)) for d in (day, day + timedelta(days=1)))
    return [localtime.to_local(begin + timedelta(hours=n)) for n in range(int((end - begin) / timedelta(hours=1)))]


def cents(eur: Decimal) -> int:
    return int((eur * 100).quantize(Decimal(1), ROUND_HALF_UP))


class Books:
    """A database with one contract and one meter, emptied of readings and prices between examples."""

    def __init__(self, connection: psycopg.Connection[Any], url: str = "") -> None:
        self.connection, self.url = connection, url
        self.customer = self._id(
            "INSERT INTO customer (email, name, status, password_hash, created, updated)"
            " VALUES ('a@example.net', 'A', 'A', '-', %s, %s) RETURNING id",
            (LONG_AGO, LONG_AGO),
        )
        self.tariff = self._id(
            "INSERT INTO tariff (code, name, status, kind, standing_cents, vat_pct, valid_from, updated)"
            " VALUES ('T', 'T', 'A', 'F', 31, 21, %s, %s) RETURNING id",
            (LONG_AGO, LONG_AGO),
        )
        self.contract = self._id(
            "INSERT INTO contract (customer_id, tariff_id, area, start_day, status, created)"
            " VALUES (%s, %s, 'NL', '2024-01-01', 'A', %s) RETURNING id",
            (self.customer, self.tariff, LONG_AGO),
        )
        self.meter = self._id(
            "INSERT INTO meter (contract_id, ean, created) VALUES (%s, '871600000000000001', %s) RETURNING id",
            (self.contract, LONG_AGO),
        )

    def _id(self, query: str, values: tuple[Any, ...]) -> int:
        row = self.connection.execute(query, values).fetchone()
        assert row is not None
        return int(row[0])

    def reset(self, kind: str) -> None:
        for table in ("invoice_line", "invoice", "reading", "price", "tariff_rate"):
            self.connection.execute(f"DELETE FROM {table}")
        self.connection.execute("UPDATE tariff SET kind = %s", (kind,))

    def read(self, hours: list[tuple[datetime, str]], kwh: list[Decimal]) -> None:
        self.connection.cursor().executemany(
            "INSERT INTO reading (meter_id, ts, hour_flag, kwh, updated) VALUES (%s, %s, %s, %s, %s)",
            [(self.meter, ts, flag, amount, LONG_AGO) for (ts, flag), amount in zip(hours, kwh, strict=True)],
        )

    def price(self, hours: list[tuple[datetime, str]], eur_mwh: list[Decimal]) -> None:
        self.connection.cursor().executemany(
            "INSERT INTO price (area, ts, hour_flag, eur_mwh, source, updated) VALUES ('NL', %s, %s, %s, 't', %s)",
            [(ts, flag, amount, LONG_AGO) for (ts, flag), amount in zip(hours, eur_mwh, strict=True)],
        )

    def rates(self, *rates: tuple[int, int, Decimal]) -> None:
        self.connection.cursor().executemany(
            "INSERT INTO tariff_rate (tariff_id, hour_from, hour_to, price_kwh) VALUES (%s, %s, %s, %s)",
            [(self.tariff, *rate) for rate in rates],
        )

    def amount(self, day: date) -> Decimal:
        """What the SQL function says for one day."""
        row = self.connection.execute(
            "SELECT billing_amount(%s, %s, 'NL', %s, %s)",
            (self.meter, self.tariff, day, day + timedelta(days=1)),
        ).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture(scope="module")
def books(postgres: Any) -> Iterator[Books]:
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS billing_amounts")
        admin.execute("CREATE DATABASE billing_amounts")
    migrate(postgres.dsn("billing_amounts"))
    with psycopg.connect(postgres.dsn("billing_amounts"), autocommit=True) as connection:
        yield Books(connection, postgres.dsn("billing_amounts"))


kwh = st.decimals("-10", "100", places=3)
eur_mwh = st.decimals("-500", "5000", places=2)
eur_kwh = st.decimals("-1", "5", places=5)
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("day", HOURS, ids=str)
@given(data=st.data())
@few
def test_a_dynamic_day_costs_each_hour_at_its_price(books: Books, day: date, data: st.DataObject) -> None:
    hours = hours_of(day)
    assert len(hours) == HOURS[day]
    used = data.draw(st.lists(kwh, min_size=len(hours), max_size=len(hours)))
    paid = data.draw(st.lists(eur_mwh, min_size=len(hours), max_size=len(hours)))
    books.reset("D")
    books.read(hours, used)
    books.price(hours, paid)
    assert books.amount(day) == sum(a * b / 1000 for a, b in zip(used, paid, strict=True))


@pytest.mark.parametrize("day", HOURS, ids=str)
@given(data=st.data())
@few
def test_a_fixed_day_costs_each_local_hour_at_its_rate(books: Books, day: date, data: st.DataObject) -> None:
    hours = hours_of(day)
    used = data.draw(st.lists(kwh, min_size=len(hours), max_size=len(hours)))
    edge = data.draw(st.integers(1, 23))
    low, high = data.draw(st.tuples(eur_kwh, eur_kwh))
    books.reset("F")
    books.read(hours, used)
    books.rates((0, edge, low), (edge, 24, high))
    expected = sum(a * (low if ts.hour < edge else high) for (ts, _), a in zip(hours, used, strict=True))
    assert books.amount(day) == expected


@given(used=st.lists(kwh, min_size=5, max_size=5), rate=eur_kwh)
@few
def test_an_invoice_is_the_sum_of_its_rounded_lines(books: Books, used: list[Decimal], rate: Decimal) -> None:
    books.reset("F")
    books.read(hours_of(ORDINARY)[:5], used)
    books.rates((0, 24, rate))
    engine = create_engine(sqlalchemy_url(books.url))
    with Session(engine) as session:
        run(session, "2024-05", None)
        session.commit()
    engine.dispose()
    net = cents(sum(used) * rate) + 31 * 31
    vat = int((net * Decimal("0.21")).quantize(Decimal(1), ROUND_HALF_UP))
    got = books.connection.execute("SELECT net_cents, vat_cents, total_cents FROM invoice").fetchall()
    assert got == [(net, vat, net + vat)]


def test_an_hour_that_was_never_published_costs_the_middle_of_its_day(books: Books) -> None:
    books.reset("D")
    hours = hours_of(ORDINARY)
    books.read(hours[:1], [Decimal("2")])
    books.price(hours[1:3], [Decimal("-10"), Decimal("50")])
    assert books.amount(ORDINARY) == Decimal("0.04")


def test_the_cents_of_a_line_are_rounded_once(books: Books) -> None:
    """0.0049999… must not become 0.00500 first and 1 cent then."""
    books.reset("F")
    books.read(hours_of(ORDINARY)[:1], [Decimal("0.999")])
    books.rates((0, 24, Decimal("0.00500")))
    invoice = books._id(
        "INSERT INTO invoice (number, customer_id, contract_id, tariff_id, area, month, net_cents, vat_cents,"
        " total_cents, created) VALUES ('n', %s, %s, %s, 'NL', '2024-05', 0, 0, 0, %s) RETURNING id",
        (books.customer, books.contract, books.tariff, LONG_AGO),
    )
    row = books.connection.execute(
        "INSERT INTO invoice_line (invoice_id, line_no, kind, meter_id, day_from, day_to, description)"
        " VALUES (%s, 1, 'E', %s, '2024-05-02', '2024-05-03', 'd') RETURNING amount, amount_cents",
        (invoice, books.meter),
    ).fetchone()
    assert row == (Decimal("0.00500"), 0)


def test_the_same_month_computed_again_gives_the_same_cents(
    legacy_database: str, make_app: Callable[..., Flask]
) -> None:
    client = make_app().test_client()
    with psycopg.connect(legacy_database, autocommit=True) as connection:
        books = Books(connection)
        books.reset("D")
        hours = [hour for day in (SPRING, ORDINARY, AUTUMN) for hour in hours_of(day)]
        books.read(hours, [Decimal(n % 7) / 8 for n in range(len(hours))])
        books.price(hours, [Decimal(n * 37 % 1000 - 200) / 4 for n in range(len(hours))])
    headers = {"X-Api-Key": BACKOFFICE_KEY}
    for month in ("2024-03", "2024-05", "2024-10"):
        kept = client.post("/api/billing/run", json={"month": month}, headers=headers).json["invoices"]
        anew = client.post("/api/billing/run", json={"month": month, "dry_run": True}, headers=headers).json["invoices"]
        assert [i["lines"] for i in kept] == [i["lines"] for i in anew]
        assert len(kept) == 1


def test_the_clock_goes_there_and_back_for_every_hour_of_a_decade() -> None:
    hour, end, seen = datetime(2015, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC), set()
    while hour < end:
        ts, flag = localtime.to_local(hour)
        assert localtime.to_utc(ts, flag) == hour
        assert localtime.flag_problem(ts, flag) is None
        assert (ts, flag) not in seen
        seen.add((ts, flag))
        hour += timedelta(hours=1)
