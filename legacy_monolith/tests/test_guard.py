"""When the database says that somebody else owns a row, the monolith says 421 and has changed nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

import psycopg
import pytest
from flask import Flask

from legacy_monolith import cli
from legacy_monolith.cron import queued
from legacy_monolith.db import make_engine
from legacy_monolith.tests.conftest import BACKOFFICE_KEY

BACKOFFICE = {"X-Api-Key": BACKOFFICE_KEY}
GUARD = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'not here' USING ERRCODE = 'BN421',
            DETAIL = '{"domain": "pricing", "wave": 0, "owner": "service", "epoch": 7}';
    END $$
"""


def guard(dsn: str, table: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(GUARD)
        connection.execute(f"CREATE TRIGGER guard BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()")


@pytest.mark.parametrize("table", ["tariff", "tariff_rate"])
def test_a_refused_write_is_answered_421_and_rolled_back(
    legacy_database: str, make_app: Callable[..., Flask], table: str
) -> None:
    client = make_app().test_client()
    guard(legacy_database, table)
    wanted = {
        "code": "T", "name": "n", "kind": "F", "standing_cents": 1, "vat_pct": "21",
        "valid_from": "2024-01-01T00:00:00",
        "rates": [{"hour_from": 0, "hour_to": 24, "price_kwh": "0.1"}],
    }  # fmt: skip
    got = client.post("/api/tariffs", json=wanted, headers=BACKOFFICE)
    assert got.status_code == 421
    assert got.content_type == "application/problem+json"
    assert (got.headers["Banyan-Owner"], got.headers["Banyan-Epoch"]) == ("service", "7")
    problem = json.loads(got.data)
    assert (problem["status"], problem["domain"], problem["wave"], problem["owner"], problem["epoch"]) == (
        421, "pricing", 0, "service", 7
    )  # fmt: skip
    assert client.get("/api/tariffs").json == {"tariffs": []}


def test_a_guarded_domain_can_still_be_read(legacy_database: str, make_app: Callable[..., Flask]) -> None:
    guard(legacy_database, "price")
    got = make_app().test_client().get("/api/prices?area=NL&from=2024-01-01&to=2024-01-02")
    assert got.status_code == 200


def test_a_refused_command_says_who_owns_the_domain(
    legacy_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guard(legacy_database, "tariff")
    monkeypatch.setenv("LEGACY_OWNER_DATABASE_URL", legacy_database)
    assert cli.main(["seed", "--customers", "1"]) == 1
    assert "pricing is owned by service since epoch 7" in capsys.readouterr().err
    with psycopg.connect(legacy_database) as connection:
        assert connection.execute("SELECT count(*) FROM customer").fetchone() == (0,)


@pytest.fixture
def retired_notices(legacy_database: str) -> str:
    """As `banyan complete` leaves the monolith's tables."""
    with psycopg.connect(legacy_database) as connection:
        for table in ("notification", "notification_pref"):
            connection.execute(f"ALTER TABLE {table} RENAME TO {table}_retired")
    return legacy_database


def test_what_has_left_for_good_is_answered_410(retired_notices: str, make_app: Callable[..., Flask]) -> None:
    client = make_app().test_client()
    for path in ("/api/notifications", "/api/customers/1/preferences"):
        got = client.get(path, headers=BACKOFFICE)
        assert (got.status_code, got.content_type) == (410, "application/problem+json")
        assert json.loads(got.data)["title"] == "Gone"
    assert client.get("/api/tariffs").status_code == 200


def test_the_minute_job_leaves_notices_alone_that_have_left_for_good(retired_notices: str) -> None:
    engine = make_engine(retired_notices)
    assert queued.send(engine, None, datetime(2024, 5, 3, 12, 0)) == 0
    engine.dispose()


def test_a_table_that_is_just_missing_is_an_error(legacy_database: str, make_app: Callable[..., Flask]) -> None:
    with psycopg.connect(legacy_database) as connection:
        connection.execute("DROP TABLE notification")
    assert make_app().test_client().get("/api/notifications", headers=BACKOFFICE).status_code == 500
