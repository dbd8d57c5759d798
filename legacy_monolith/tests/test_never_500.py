"""Whatever is sent, the answer is a clear refusal or a success, never an internal error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_monolith import seed
from legacy_monolith.app import create_app
from legacy_monolith.migrate import migrate
from legacy_monolith.settings import Settings
from legacy_monolith.tests.conftest import BACKOFFICE_KEY

scalar = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["1.5", "N", "A", "E", "F", "2024-10-27T02:00:00", "2024-05-02T01:00:00", "2024-05", "Y", "22:00"]
    )
    | st.sampled_from(["0000-0500 C100", "\x00", "\ud800", "customer-0001@example.net", "VAST-2023", "9" * 40, "-0"])
)
value = scalar | st.lists(scalar, max_size=3) | st.dictionaries(st.sampled_from(["ts", "kwh", "eur_mwh"]), scalar)

CALLS: dict[str, list[str]] = {
    "POST /login": ["email", "password"],
    "POST /api/customers": ["email", "name", "password", "phone"],
    "PUT /api/customers/1": ["email", "name", "status", "city"],
    "POST /api/contracts": ["customer_id", "tariff_code", "start_day", "end_day", "area"],
    "POST /api/meters": ["contract_id", "ean"],
    "POST /api/readings": ["readings"],
    "POST /api/billing/run": ["month", "customer_id", "dry_run"],
    "POST /api/tariffs": ["code", "name", "kind", "standing_cents", "vat_pct", "valid_from", "rates"],
    "PUT /api/tariffs/VAST-2023/rates": ["rates"],
    "POST /api/prices": ["area", "source", "prices"],
    "POST /api/quotes": ["tariff_code", "kwh", "customer_id"],
    "POST /api/devices": ["serial", "customer_id", "model", "capacity_wh", "max_power_w"],
    "PUT /api/devices/1/schedule": ["slots"],
    "POST /api/devices/1/acks": ["ref", "state", "observed", "note"],
    "POST /api/notifications": ["customer_id", "channel", "subject", "body", "to"],
    "PUT /api/customers/1/preferences": ["email", "sms", "push", "quiet_from", "quiet_to"],
}
#: Right answers, so that a wrong one is met by code that comes after the first check.
GOOD: dict[str, Any] = {
    "customer_id": 1, "contract_id": 1, "kwh": "1", "tariff_code": "VAST-2023", "area": "X", "source": "s",
    "state": "D", "ref": "r", "observed": "2024-05-02T01:00:00", "channel": "E", "subject": "s", "body": "b",
    "kind": "F", "standing_cents": 1, "vat_pct": "21", "valid_from": "2024-05-02T01:00:00", "start_day": "2024-01-01",
    "capacity_wh": 1, "max_power_w": 1, "model": "m", "month": "2024-05", "dry_run": True,
    "prices": [{"ts": "2024-05-02T01:00:00", "eur_mwh": 1}], "name": "n", "sms": "N", "push": "N",
    "readings": [{"meter_id": 1, "ts": "2024-05-02T01:00:00", "kwh": 1}],
    "rates": [{"hour_from": 0, "hour_to": 24, "price_kwh": 1}],
}  # fmt: skip


@pytest.fixture(scope="module")
def app(postgres: Any) -> Iterator[Flask]:
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS never_500")
        admin.execute("CREATE DATABASE never_500")
    url = postgres.dsn("never_500")
    migrate(url)
    seed.seed(url, 1, "s")
    made = create_app(Settings(database_url=url, secret_key="s", backoffice_key=BACKOFFICE_KEY))
    yield made
    made.extensions["engine"].dispose()


@pytest.mark.parametrize("call", CALLS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_json_is_answered_without_an_internal_error(app: Flask, call: str, data: st.DataObject) -> None:
    method, path = call.split()
    good = {name: GOOD[name] for name in CALLS[call] if name in GOOD}
    body = {**good, **data.draw(st.dictionaries(st.sampled_from(CALLS[call]), value, max_size=3))}
    headers = {"X-Api-Key": BACKOFFICE_KEY}
    if path.endswith("/acks"):
        headers = {"X-Device-Token": seed.device_token("s", "BAT-000001")}
    got = app.test_client().open(path, method=method, json=body, headers=headers)
    assert got.status_code < 500, (body, got.data)
    assert got.is_json
    if got.status_code >= 400:
        assert set(got.json) == {"error"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/prices",
        "/api/quotes",
        "/api/devices",
        "/api/devices/1/acks",
        "/api/notifications",
        "/api/invoices",
        "/api/customers",
        "/api/contracts",
        "/api/meters",
        "/api/meters/1/readings",
    ],
)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_query_is_answered_without_an_internal_error(app: Flask, path: str, data: st.DataObject) -> None:
    names = ["limit", "after", "customer_id", "month", "email", "from", "to", "area", "contract_id"]
    values = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
        ["NL", "2024-01-01", "2024-02-01", "9" * 19, "٣", "1", "2024-05", "\x00"]
    )
    query = data.draw(st.dictionaries(st.sampled_from(names), values))
    got = app.test_client().get(path, query_string=query, headers={"X-Api-Key": BACKOFFICE_KEY})
    assert got.status_code < 500, (query, got.data)
