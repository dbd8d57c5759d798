"""A write that the other side owns is answered 421 and changes nothing; a dry run changes nothing either."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.integration.services.conftest import Client

Rows = Callable[[str], list[tuple[object, ...]]]

TARIFF = {
    "code": "T", "name": "n", "kind": "F", "standing_cents": 1, "vat_pct": 21, "valid_from": "2024-01-01T00:00:00",
    "rates": [{"hour_from": 0, "hour_to": 24, "price_kwh": "0.25"}],
}  # fmt: skip
PRICES = {"area": "NL", "source": "test", "prices": [{"ts": "2024-05-01T00:00:00", "eur_mwh": 1}]}
BATCH = {"area": "NL", "source": "test", "prices": [{"starts_at": "2024-05-01T00:00:00Z", "price": "1"}]}
WRITES = [
    ("POST", "/api/tariffs", {**TARIFF, "code": "new"}),
    ("PUT", "/api/tariffs/T/rates", {"rates": [{"hour_from": 0, "hour_to": 24, "price_kwh": "9"}]}),
    ("POST", "/api/prices", PRICES),
    ("POST", "/api/quotes", {"tariff_code": "T", "kwh": 1, "customer_id": 1}),
    ("PUT", "/v2/prices", BATCH),
    ("POST", "/v2/quotes", {"tariff_code": "T", "energy_kwh": "1", "customer_id": 1}),
]

# What the guard does, in short: it raises BN421 on every table, with the owner as JSON in DETAIL.
GUARD = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'not here' USING ERRCODE = 'BN421',
            DETAIL = '{"domain":"pricing","wave":2,"owner":"moving","epoch":7}';
    END $$;
"""
TABLES = ("tariffs", "tariff_rates", "market_prices", "quotes")


def everything(rows: Rows) -> list[list[tuple[object, ...]]]:
    return [sorted(rows(f"SELECT t::text FROM {table} t")) for table in TABLES]


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=lambda value: str(value)[:20])
async def test_a_write_that_another_side_owns_is_misdirected_and_changes_nothing(
    back_office: Client, pricing_dsn: str, rows: Rows, method: str, path: str, body: dict[str, object]
) -> None:
    await back_office.post("/api/tariffs", json=TARIFF)
    with psycopg.connect(pricing_dsn) as connection:
        connection.execute(GUARD)
        for table in TABLES:
            connection.execute(
                f"CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
            )
    before = everything(rows)
    answer = await back_office.request(method, path, json=body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 421, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.headers["Banyan-Owner"], answer.headers["Banyan-Epoch"]) == ("moving", "7")
    problem = answer.json()
    assert (problem["title"], problem["status"]) == ("Misdirected Request", 421)
    assert (problem["domain"], problem["wave"], problem["owner"], problem["epoch"]) == ("pricing", 2, "moving", 7)
    assert everything(rows) == before


async def test_a_refusal_with_an_unreadable_detail_is_still_misdirected(back_office: Client, pricing_dsn: str) -> None:
    with psycopg.connect(pricing_dsn) as connection:
        connection.execute(GUARD.replace('{"domain"', "not json"))
        connection.execute("CREATE TRIGGER guard BEFORE INSERT ON tariffs FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
    assert (await back_office.post("/api/tariffs", json=TARIFF)).status_code == 421


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=lambda value: str(value)[:20])
async def test_a_dry_run_answers_as_the_write_would_and_changes_nothing(
    back_office: Client, rows: Rows, method: str, path: str, body: dict[str, object]
) -> None:
    await back_office.post("/api/tariffs", json=TARIFF)
    before = everything(rows)
    key = {"Idempotency-Key": "k"}
    dry = await back_office.request(method, path, json=body, headers={**key, "Banyan-Dry-Run": "1"})
    assert (dry.is_success, dry.headers["Banyan-Dry-Run"]) == (True, "1"), dry.text
    assert everything(rows) == before
    real = await back_office.request(method, path, json=body, headers=key)
    assert real.status_code == dry.status_code
    assert set(real.json()) == set(dry.json())
    assert "Banyan-Dry-Run" not in real.headers
    assert everything(rows) != before


async def test_a_dry_run_of_bad_input_is_refused_as_the_write_would_be(back_office: Client) -> None:
    dry = await back_office.post("/api/tariffs", json={}, headers={"Banyan-Dry-Run": "1"})
    assert (dry.status_code, dry.json()) == (400, {"error": "code is missing"})
