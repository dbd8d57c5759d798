"""The minute job: who runs it, what it decides, and what it does when part of the fleet has moved."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from flask import Flask

from legacy_monolith import auth, cli, localtime, seed
from legacy_monolith.cron import decide, imbalance, job
from legacy_monolith.cron.thread import Cron

NOW = datetime(2024, 5, 2, 12, 0, 30, tzinfo=UTC)
#: Inside the repeated hour: once in its first pass, an hour later in its second.
REPEATED = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)


@pytest.fixture
def fleet(legacy_database: str, make_app: Callable[..., Flask]) -> Flask:
    seed.seed(legacy_database, 10, "s")
    return make_app()


def commands(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT device_id, mode, power_w, status, issued, expires, ref FROM battery_command ORDER BY device_id, id"
        ).fetchall()


def run(app: Flask, now: datetime, again: bool = False) -> job.Ran | None:
    return job.run(app.extensions["engine"], None, now, again=again)


@pytest.mark.parametrize(
    ("price", "mode"), [("-0.01", "C"), ("0", None), ("250", None), ("250.01", "D"), ("-500", "C")]
)
def test_batteries_charge_below_zero_and_discharge_when_it_pays(price: str, mode: str | None) -> None:
    assert decide.mode(Decimal(price)) == mode


def test_only_a_price_of_the_last_quarter_of_an_hour_counts() -> None:
    ts, flag = localtime.to_local(NOW.replace(second=0))
    assert decide.is_fresh(ts, flag, NOW)
    assert not decide.is_fresh(ts, flag, NOW + timedelta(minutes=15))
    assert not decide.is_fresh(ts, flag, NOW - timedelta(minutes=5))


def test_every_active_device_gets_one_command_a_minute(legacy_database: str, fleet: Flask) -> None:
    imbalance.write(legacy_database, NOW, Decimal("-20"))
    with psycopg.connect(legacy_database) as connection:
        connection.execute("UPDATE device SET status = 'R' WHERE id = 1")
        connection.execute("UPDATE device SET status = 'N' WHERE id = 2")
    assert run(fleet, NOW) == job.Ran("C", 8, 0, 0)
    assert run(fleet, NOW) is None
    assert run(fleet, NOW, again=True) == job.Ran("C", 0, 0, 0)
    made = commands(legacy_database)
    assert [row[0] for row in made] == list(range(3, 11))
    issued = datetime(2024, 5, 2, 14, 0, 30)
    assert {row[1:6] for row in made} == {("C", 5000, "Q", issued, issued + timedelta(minutes=2))}


def test_many_workers_at_once_run_it_once(legacy_database: str, fleet: Flask) -> None:
    imbalance.write(legacy_database, NOW, Decimal("900"))
    with ThreadPoolExecutor(6) as pool:
        ran = [result for result in pool.map(lambda _: run(fleet, NOW), range(6)) if result]
    assert ran == [job.Ran("D", 10, 0, 0)]


@pytest.mark.parametrize("price", [None, Decimal("80")])
def test_without_a_telling_price_devices_follow_their_schedule(
    legacy_database: str, fleet: Flask, price: Decimal | None
) -> None:
    if price is not None:
        imbalance.write(legacy_database, NOW, price)
    assert run(fleet, NOW) == job.Ran(None, 0, 0, 0)
    assert commands(legacy_database) == []


def test_both_passes_of_the_repeated_hour_have_their_run(legacy_database: str, fleet: Flask) -> None:
    for now in (REPEATED, REPEATED + timedelta(hours=1)):
        imbalance.write(legacy_database, now, Decimal("-20"))
        assert run(fleet, now) == job.Ran("C", 10, 0, 0)
    assert len(commands(legacy_database)) == 20


def test_devices_that_have_moved_are_left_alone_and_the_others_are_served(legacy_database: str, fleet: Flask) -> None:
    moved = {3, 7, 8}
    with psycopg.connect(legacy_database) as connection:
        connection.execute("""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NEW.device_id IN (3, 7, 8) THEN
                    RAISE EXCEPTION 'moved' USING ERRCODE = 'BN421',
                        DETAIL = '{"domain": "devices", "wave": 1, "owner": "service", "epoch": 2}';
                END IF;
                RETURN NEW;
            END $$
        """)
        connection.execute(
            "CREATE TRIGGER guard BEFORE INSERT ON battery_command FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    imbalance.write(legacy_database, NOW, Decimal("-20"))
    assert run(fleet, NOW) == job.Ran("C", 7, 3, 0)
    assert {row[0] for row in commands(legacy_database)} == set(range(1, 11)) - moved


def test_a_device_sees_its_command_until_it_expires(legacy_database: str, fleet: Flask) -> None:
    now = datetime.now(UTC)
    imbalance.write(legacy_database, now, Decimal("-20"))
    run(fleet, now)
    client = fleet.test_client()
    token = {"X-Device-Token": seed.device_token("s", "BAT-000001")}
    [command] = client.get("/get-schedule/1", headers=token).json["commands"]
    assert (command["mode"], command["power_w"], command["ref"]) == ("C", 5000, decide.ref(1, now))
    report = {"ref": command["ref"], "state": "D", "observed": command["issued"]}
    assert client.post("/api/devices/1/acks", json=report, headers=token).status_code == 201
    assert commands(legacy_database)[0][3] == "S"
    with psycopg.connect(legacy_database) as connection:
        connection.execute("UPDATE battery_command SET expires = issued - interval '1 minute'")
    assert client.get("/get-schedule/1", headers=token).json["commands"] == []


def test_the_token_of_a_retired_device_is_worth_nothing(legacy_database: str, fleet: Flask) -> None:
    with psycopg.connect(legacy_database) as connection:
        connection.execute("UPDATE device SET status = 'R' WHERE id = 1")
    token = seed.device_token("s", "BAT-000001")
    assert len(auth.token_sha1(token)) == 40
    got = fleet.test_client().get("/get-schedule/1", headers={"X-Device-Token": token})
    assert (got.status_code, got.json) == (401, {"error": "invalid device token"})


def test_the_thread_goes_on_after_a_minute_that_failed(legacy_database: str, fleet: Flask) -> None:
    imbalance.write(legacy_database, datetime.now(UTC), Decimal("-20"))
    with psycopg.connect(legacy_database, autocommit=True) as connection:
        connection.execute("ALTER TABLE cron_run RENAME TO away")
        failed, pauses = threading.Event(), itertools.count()

        def pause() -> float:
            if next(pauses):  # the second pause: the first run is over, and it found no table
                failed.set()
            return 0.01

        thread = Cron(fleet.extensions["engine"], None, pause)
        thread.start()
        assert failed.wait(10)
        connection.execute("ALTER TABLE away RENAME TO cron_run")
        deadline = time.monotonic() + 10
        while not commands(legacy_database):
            assert time.monotonic() < deadline
        thread.stop()
        thread.join(10)
    assert not thread.is_alive()
    assert len(commands(legacy_database)) % 10 == 0


def test_the_command_line_runs_it_once(
    legacy_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seed.seed(legacy_database, 2, "s")
    monkeypatch.setenv("LEGACY_OWNER_DATABASE_URL", legacy_database)
    monkeypatch.setenv("LEGACY_DATABASE_URL", legacy_database)
    assert cli.main(["imbalance", "--price", "-12.50"]) == 0
    assert cli.main(["cron", "--once"]) == 0
    assert "charge: 2 commands" in capsys.readouterr().out


def test_a_made_up_price_is_the_same_for_the_same_minute() -> None:
    assert imbalance.made_up(NOW, Decimal(80)) == imbalance.made_up(NOW, Decimal(80))
    assert imbalance.made_up(NOW, Decimal(80)) != imbalance.made_up(NOW + timedelta(minutes=1), Decimal(80))
