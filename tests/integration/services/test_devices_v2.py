"""The clean API for devices: bearer tokens, ETags, acknowledgements in batches that may come again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest
from litestar.testing import AsyncTestClient

from banyan.servers import Postgres
from services.devices.service import devices
from tests.integration.services.conftest import Client, settings
from tests.integration.services.processes import BACK_OFFICE, migrated

SLOTS = "0000-0500 C2500;0500-1600 H0;1600-2400 D3000"
ACK = {"ref": "v1", "state": "succeeded", "observed_at": "2024-07-01T10:00:00Z", "note": "fine"}


@pytest.fixture
def dsn(service_postgres: Postgres) -> str:
    made = migrated(service_postgres, "devices")
    with psycopg.connect(made) as connection:
        connection.execute("INSERT INTO customer_refs (id) VALUES (1)")
    return made


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with AsyncTestClient(devices(settings("devices", dsn))) as client:
        yield client


class Device:
    """A registered device and its token."""

    def __init__(self, id: int, token: str) -> None:
        self.id, self.bearer = id, {"Authorization": f"Bearer {token}"}
        self.schedule, self.acks = f"/v2/devices/{id}/schedule", f"/v2/devices/{id}/acks"


async def register(client: Client, serial: str = "B1") -> Device:
    wanted = {"serial": serial, "customer_id": 1, "model": "P", "capacity_wh": 10_000, "max_power_w": 5000}
    made = (await client.post("/api/devices", json=wanted, headers=BACK_OFFICE)).json()
    return Device(made["id"], made["token"])


async def put_slots(client: Client, device: Device, slots: str) -> None:
    put = await client.put(f"/api/devices/{device.id}/schedule", json={"slots": slots}, headers=BACK_OFFICE)
    assert put.status_code == 200, put.text


async def test_a_device_reads_its_schedule_in_words(client: Client) -> None:
    device = await register(client)
    empty = await client.get(device.schedule, headers=device.bearer)
    assert empty.json() == {
        "device_id": device.id, "version": 0, "assignment_epoch": 0, "slots": [], "commands": [],
        "fallback": {"version": 0, "after_s": 604_800, "slots": []},
    }  # fmt: skip
    await put_slots(client, device, SLOTS)
    got = await client.get(device.schedule, headers=device.bearer)
    assert (got.headers["ETag"], got.json()["version"]) == ('"1"', 1)
    assert got.json()["slots"] == [
        {"from": "00:00", "to": "05:00", "mode": "charge", "power_w": 2500},
        {"from": "05:00", "to": "16:00", "mode": "hold", "power_w": 0},
        {"from": "16:00", "to": "24:00", "mode": "discharge", "power_w": 3000},
    ]


async def test_a_known_version_is_not_sent_again_until_it_changes(client: Client) -> None:
    device = await register(client)
    await put_slots(client, device, SLOTS)
    known = {**device.bearer, "If-None-Match": '"1"'}
    same = await client.get(device.schedule, headers=known)
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", '"1"')
    await put_slots(client, device, SLOTS)
    assert (await client.get(device.schedule, headers=known)).status_code == 304
    await put_slots(client, device, "0000-2400 H0")
    changed = await client.get(device.schedule, headers=known)
    assert (changed.status_code, changed.json()["version"]) == (200, 2)


async def test_an_open_command_is_sent_although_the_version_is_known(client: Client, dsn: str) -> None:
    device = await register(client)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO commands (device_id, ref, mode, power_w, state, issued_at, expires_at) VALUES"
            " (%(id)s, 'now', 'charge', 100, 'queued', now(), now() + interval '5 minutes'),"
            " (%(id)s, 'past', 'charge', 100, 'queued', now() - interval '1 hour', now() - interval '1 minute')",
            {"id": device.id},
        )
        got = await client.get(device.schedule, headers={**device.bearer, "If-None-Match": '"0"'})
        assert [(c["ref"], c["mode"], c["power_w"]) for c in got.json()["commands"]] == [("now", "charge", 100)]
        report = {"acks": [{**ACK, "ref": "now", "state": "delivered"}, {**ACK, "ref": "now", "state": "expired"}]}
        assert (await client.post(device.acks, json=report, headers=device.bearer)).status_code == 200
        states = connection.execute("SELECT ref, state FROM commands ORDER BY ref").fetchall()
    assert states == [("now", "expired"), ("past", "queued")]
    assert (await client.get(device.schedule, headers={**device.bearer, "If-None-Match": '"0"'})).status_code == 304


async def test_reports_that_come_again_are_counted_as_duplicates(client: Client) -> None:
    device = await register(client)
    reports = [ACK, {**ACK, "ref": "v2"}, ACK]
    first = await client.post(device.acks, json={"acks": reports}, headers=device.bearer)
    assert (first.status_code, first.json()) == (200, {"accepted": 2, "duplicates": 1, "stale": 0})
    again = await client.post(device.acks, json={"acks": reports}, headers=device.bearer)
    assert again.json() == {"accepted": 0, "duplicates": 3, "stale": 0}
    listed = (await client.get(f"/api/devices/{device.id}/acks", headers=BACK_OFFICE)).json()["acks"]
    assert [(ack["ref"], ack["state"], ack["observed"]) for ack in listed] == [
        ("v1", "S", "2024-07-01T12:00:00"), ("v2", "S", "2024-07-01T12:00:00"),
    ]  # fmt: skip
    assert (await client.get(f"/api/devices/{device.id}", headers=BACK_OFFICE)).json()["status"] == "A"


async def test_a_device_speaks_for_itself_only(client: Client) -> None:
    one, other = await register(client, "B1"), await register(client, "B2")
    for path in (other.schedule, "/v2/devices/999/schedule"):
        assert (await client.get(path, headers=one.bearer)).status_code == 403
    assert (await client.post(other.acks, json={"acks": [ACK]}, headers=one.bearer)).status_code == 403
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
        answer = await client.get(one.schedule, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert (await client.get("/v2/devices/999/schedule", headers=BACK_OFFICE)).status_code == 404


async def test_a_retired_device_is_shut_out(client: Client, dsn: str) -> None:
    device = await register(client)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE devices SET state = 'retired'")
    assert (await client.get(device.schedule, headers=device.bearer)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"acks": []},
        {"acks": [{**ACK, "state": "S"}]},
        {"acks": [{**ACK, "ref": ""}]},
        {"acks": [{**ACK, "ref": "a\x00b"}]},
        {"acks": [{**ACK, "observed_at": "2024-07-01T10:00:00"}]},
        {"acks": [{**ACK, "note": "x" * 201}]},
        {"acks": [ACK, {**ACK, "extra": 1}]},
        {"acks": [ACK] * 501},
    ],
    ids=["empty", "none", "letter", "no-ref", "control", "no-offset", "long-note", "unknown-field", "too-many"],
)
async def test_a_bad_report_is_refused_as_a_whole(client: Client, body: dict[str, object]) -> None:
    device = await register(client)
    answer = await client.post(device.acks, json=body, headers=device.bearer)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    listed = await client.get(f"/api/devices/{device.id}/acks", headers=BACK_OFFICE)
    assert listed.json() == {"acks": [], "next": None}
