"""What devices say of themselves, whether they are there, what they measured; and the fleet by all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from banyan.servers import Postgres
from tests.fixtures.servers import create_database
from tests.integration.services.conftest import Client
from tests.integration.services.fleet.batteries import DAY, Battery, register
from tests.integration.services.processes import BACK_OFFICE, migrate_service

REPORT = {"schedule_version": 0, "mode": "hold", "power_w": 0, "following": "schedule"}


def ago(**how_long: float) -> str:
    return (datetime.now(UTC) - timedelta(**how_long)).isoformat()


async def report(battery: Battery, **more: Any) -> dict[str, Any]:
    put = await battery.ask("PUT", "/reported", json={"observed_at": ago(), **REPORT, **more})
    assert put.status_code == 200, put.text
    return dict(put.json())


async def twin(battery: Battery) -> dict[str, Any]:
    return dict((await battery.ask("GET", "/state")).json())


async def fleet(client: Client, query: str = "") -> list[str]:
    got = await client.get(f"/v2/fleet?{query}", headers=BACK_OFFICE)
    assert got.status_code == 200, got.text
    return [item["serial"] for item in got.json()["items"]]


async def test_what_is_desired_and_not_reported_is_the_delta(battery: Battery) -> None:
    await battery.publish(DAY)
    before = await twin(battery)
    assert (before["reported"], before["delta"]) == (None, {"schedule_version": 1, "fallback_version": 0})
    await report(battery)
    assert (await twin(battery))["delta"] == {"schedule_version": 1}
    await report(battery, schedule_version=1, soc=0.5, agent_version="1.0.0", note="fine")
    after = await twin(battery)
    assert (after["version"], after["delta"], after["desired"]["schedule_version"]) == (2, {}, 1)
    assert (after["reported"]["soc"], after["reported"]["agent_version"]) == (0.5, "1.0.0")


async def test_an_older_report_does_not_take_back_a_newer_one(battery: Battery) -> None:
    assert (await report(battery, power_w=0))["kept"]
    assert not (await report(battery, observed_at=ago(minutes=1), mode="charge", power_w=9))["kept"]
    assert (await twin(battery))["reported"]["mode"] == "hold"


async def test_a_clock_that_is_off_is_told_and_found(client: Client, battery: Battery) -> None:
    other = await register(client, "B2")
    assert abs((await report(other))["clock_skew_ms"]) < 2000
    skew = (await report(battery, observed_at=ago(seconds=90)))["clock_skew_ms"]
    assert 89_000 < skew < 95_000
    assert await fleet(client, "clock_skewed=true") == ["B1"]
    assert (await client.get("/v2/fleet/counts", headers=BACK_OFFICE)).json()["clock_skewed"] == 1


async def test_a_device_is_there_until_it_was_silent_for_long(
    client: Client, battery: Battery, rows: psycopg.Connection[Any]
) -> None:
    other = await register(client, "B2")
    job = client.app.state.presence
    for _ in range(2):
        await battery.document()
        await job.note()
    assert (await fleet(client, "online=true"), await fleet(client, "online=false")) == (["B1"], ["B2"])
    now = datetime.now(UTC)
    assert await job.look_for_silence(now + timedelta(seconds=170)) == 0
    assert await job.look_for_silence(now + timedelta(seconds=190)) == 1
    assert await job.look_for_silence(now + timedelta(seconds=190)) == 0
    assert await fleet(client, "online=true") == []
    await battery.ack("x", "succeeded")
    await job.note()
    assert (await twin(battery))["connection"]["online"]
    history = (await battery.office("GET", "/connections?limit=2")).json()
    rest = (await battery.office("GET", f"/connections?cursor={history['next_cursor']}")).json()
    found = [(item["online"], item["reason"]) for item in (*history["items"], *rest["items"])]
    assert found == [(True, "http"), (False, "silent"), (True, "http")]
    assert (await other.office("GET", "/connections")).json()["items"] == []


async def test_the_fleet_is_found_by_what_it_does_and_paged(client: Client) -> None:
    batteries = [await register(client, f"B{n}") for n in range(5)]
    for n, battery in enumerate(batteries):
        await report(battery, soc=n / 4, following="command" if n % 2 else "schedule")
    assert await fleet(client, "soc_below=0.5") == ["B0", "B1"]
    assert await fleet(client, "soc_above=0.5&following=command") == ["B3"]
    assert await fleet(client, "serial=B2") == ["B2"]
    assert await fleet(client, "model=Q") == []
    await batteries[1].ack("x", "succeeded")
    assert await fleet(client, "state=active") == ["B1"]
    first = (await client.get("/v2/fleet?limit=3", headers=BACK_OFFICE)).json()
    assert [item["serial"] for item in first["items"]] == ["B0", "B1", "B2"]
    assert await fleet(client, f"limit=3&cursor={first['next_cursor']}") == ["B3", "B4"]
    counted = (await client.get("/v2/fleet/counts", headers=BACK_OFFICE)).json()
    assert (counted["devices"], counted["by_following"]) == (5, {"schedule": 3, "command": 2})
    assert counted["by_state"] == {"new": 4, "active": 1}
    assert (await client.get("/v2/fleet", headers=batteries[0].bearer)).status_code == 403


async def test_samples_that_come_again_are_duplicates_and_old_ones_are_left(
    battery: Battery, rows: psycopg.Connection[Any]
) -> None:
    samples = [
        {"observed_at": ago(days=20), "power_w": -200, "soc": 0.9},
        {"observed_at": ago(minutes=1), "power_w": 100, "soc": 0.25, "mode": "charge"},
        {"observed_at": ago(days=60), "power_w": 0},
    ]
    first = await battery.ask("POST", "/telemetry", json={"samples": samples})
    assert (first.status_code, first.json()) == (202, {"accepted": 2, "duplicates": 0, "too_old": 1}), first.text
    again = await battery.ask("POST", "/telemetry", json={"samples": samples})
    assert again.json() == {"accepted": 0, "duplicates": 2, "too_old": 1}
    assert rows.execute("SELECT soc FROM battery_states").fetchall() == [(0.25,)]
    query = {"from": ago(days=30), "to": ago(days=0)}
    got = (await battery.office("GET", "/telemetry", params=query)).json()["items"]
    assert [(item["power_w"], item["mode"]) for item in got] == [(-200, None), (100, "charge")]
    future = [{"observed_at": ago(hours=-1), "power_w": 0}]
    assert (await battery.ask("POST", "/telemetry", json={"samples": future})).status_code == 422


async def test_what_became_of_orders_is_in_the_log_of_its_day(battery: Battery) -> None:
    for n in range(3):
        await battery.ack(f"r{n}", "delivered")
    await battery.ack("r0", "delivered")
    query = {"from": ago(hours=1), "to": ago(hours=-1), "limit": "2"}
    page = (await battery.office("GET", "/log", params=query)).json()
    rest = (await battery.office("GET", "/log", params={**query, "cursor": page["next_cursor"]})).json()
    assert [item["ref"] for item in (*page["items"], *rest["items"])] == ["r2", "r1", "r0"]
    assert rest["next_cursor"] is None
    wide = {"from": ago(days=40), "to": ago(days=0)}
    assert (await battery.office("GET", "/log", params=wide)).status_code == 422


async def test_days_are_made_and_dropped(client: Client, battery: Battery, rows: psycopg.Connection[Any]) -> None:
    days = "SELECT count(*) FROM pg_inherits WHERE inhparent = '{}'::regclass"

    def count() -> list[int]:
        found = [rows.execute(days.format(table)).fetchone() for table in ("execution_log", "telemetry")]
        return [row[0] for row in found if row is not None]

    assert count() == [9, 42]
    job = client.app.state.presence
    await job.clear_out(datetime.now(UTC))
    assert count() == [9, 42]
    rows.execute("SELECT drop_partitions(90, 10)")
    assert count()[1] == 42 - 24
    await job.clear_out(datetime.now(UTC))
    assert count() == [9, 42]
    old = datetime.now(UTC).date() - timedelta(days=100)
    rows.execute(
        f"CREATE TABLE partitions.execution_log_{old:%Y%m%d} PARTITION OF execution_log"
        f" FOR VALUES FROM ('{old}') TO ('{old + timedelta(days=1)}')"
    )
    await job.clear_out(datetime.now(UTC))
    assert count() == [9, 42]


async def test_a_day_without_a_partition_costs_no_acknowledgement(
    battery: Battery, rows: psycopg.Connection[Any]
) -> None:
    for (name,) in rows.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'execution_log'::regclass"
    ).fetchall():
        rows.execute(f"DROP TABLE {name}")
    assert (await battery.ack("x", "succeeded")).json()["accepted"] == 1
    assert rows.execute("SELECT ref FROM acks").fetchall() == [("x",)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/reported", {"observed_at": "2024-07-01T10:00:00Z", **REPORT, "mode": "sell"}),
        ("/reported", {"observed_at": "2024-07-01T10:00:00", **REPORT}),
        ("/reported", {"observed_at": "2024-07-01T10:00:00Z", **REPORT, "soc": 1.1}),
        ("/reported", {**REPORT}),
        ("/telemetry", {"samples": []}),
        ("/telemetry", {"samples": [{"observed_at": "2024-07-01T10:00:00Z", "power_w": 1.5}]}),
    ],
)
async def test_a_bad_report_is_refused(battery: Battery, path: str, body: dict[str, Any]) -> None:
    answer = await battery.ask("PUT" if path == "/reported" else "POST", path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_device_reports_for_itself_only(client: Client, battery: Battery) -> None:
    other = Battery(client, (await register(client, "B2")).id, battery.token)
    body = {"observed_at": ago(), **REPORT}
    assert (await other.ask("PUT", "/reported", json=body)).status_code == 403
    assert (await other.ask("GET", "/state")).status_code == 403
    samples = {"samples": [{"observed_at": ago(), "power_w": 0}]}
    assert (await other.ask("POST", "/telemetry", json=samples)).status_code == 403


def test_the_services_role_has_its_days_made_and_nobody_else(service_postgres: Postgres) -> None:
    with psycopg.connect(service_postgres.dsn(), autocommit=True) as admin:
        there = {name for (name,) in admin.execute("SELECT rolname FROM pg_roles").fetchall()}
        made = {"devices_app", "devices_other"} - there
        for name in made:
            admin.execute(f"CREATE ROLE {name}")
        dsn = create_database(service_postgres, "devices_roles")
        migrate_service(dsn, "devices")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SET ROLE devices_app")
            assert connection.execute("SELECT make_partitions(40, 8)").fetchone() == (1 + 6,)
            connection.execute("INSERT INTO telemetry (device_id, observed_at, power_w) VALUES (1, now(), 0)")
            connection.execute(
                "INSERT INTO execution_log (device_id, ref, state, note, observed_at) VALUES (1, 'r', 's', '', now())"
            )
            assert connection.execute("SELECT drop_partitions(90, 35)").fetchone() == (4,)
            connection.execute("RESET ROLE")
            connection.execute("SET ROLE devices_other")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT drop_partitions(1, 1)")
            connection.execute("RESET ROLE")
            for name in made:
                connection.execute(f"DROP OWNED BY {name}")
        for name in made:
            admin.execute(f"DROP ROLE {name}")
