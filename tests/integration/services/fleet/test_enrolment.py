"""From a claim code to a live battery: single use, a test pulse, tokens that rotate and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from litestar.testing import AsyncTestClient

from banyan.servers import Postgres
from services.devices.fleet.tries import Tries
from services.devices.service import devices
from tests.integration.services.conftest import Client, settings
from tests.integration.services.processes import BACK_OFFICE, migrated

Rows = psycopg.Connection[Any]


@pytest.fixture
def dsn(service_postgres: Postgres) -> str:
    made = migrated(service_postgres, "devices")
    with psycopg.connect(made) as connection:
        connection.execute("INSERT INTO customer_refs (id) VALUES (1)")
    return made


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    app = devices(settings("devices", dsn))
    app.state.tries = Tries(per_minute=1000)
    async with AsyncTestClient(app) as client:
        yield client


@pytest.fixture
def database(dsn: str) -> Iterator[Rows]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


async def register(client: Client, serial: str = "B1") -> int:
    wanted = {"serial": serial, "customer_id": 1, "model": "P", "capacity_wh": 10_000, "max_power_w": 5000}
    made = await client.post("/api/devices", json=wanted, headers=BACK_OFFICE)
    assert made.status_code == 201, made.text
    return int(made.json()["id"])


async def claim(client: Client, device: int) -> str:
    made = await client.post(f"/v2/devices/{device}/claims", json={"expires_in_s": 600}, headers=BACK_OFFICE)
    assert made.status_code == 201, made.text
    return str(made.json()["code"])


async def enrol(client: Client, code: str, serial: str = "B1", **headers: str) -> Any:
    return await client.post("/v2/enrolments", json={"code": code, "serial": serial}, headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def state(client: Client, device: int) -> str:
    return str((await client.get(f"/v2/devices/{device}/enrolment", headers=BACK_OFFICE)).json()["state"])


async def schedule(client: Client, device: int, token: str) -> int:
    return int((await client.get(f"/v2/devices/{device}/schedule", headers=bearer(token))).status_code)


async def test_a_claimed_device_is_live_once_it_has_obeyed_its_test_pulse(client: Client, database: Rows) -> None:
    device = await register(client)
    made = await enrol(client, (await claim(client, device)).lower().replace("-", " "))
    assert made.status_code == 201, made.text
    token, pulse = made.json()["token"], made.json()["pulse"]
    assert (made.json()["device_id"], made.json()["state"]) == (device, "claimed")
    assert (pulse["mode"], pulse["power_w"]) == ("charge", 250)
    assert token not in str(database.execute("SELECT d::text FROM devices d").fetchall())
    commands = (await client.get(f"/v2/devices/{device}/schedule", headers=bearer(token))).json()["commands"]
    assert [command["ref"] for command in commands] == [pulse["ref"]]
    assert await state(client, device) == "claimed"
    report = {"ref": pulse["ref"], "state": "succeeded", "observed_at": "2024-07-01T10:00:00Z"}
    acked = await client.post(f"/v2/devices/{device}/acks", json={"acks": [report]}, headers=bearer(token))
    assert acked.status_code == 200
    assert await state(client, device) == "live"


async def test_a_pulse_that_failed_leaves_the_device_claimed_and_may_be_sent_again(client: Client) -> None:
    device = await register(client)
    made = (await enrol(client, await claim(client, device))).json()
    for outcome, after in (("failed", "claimed"), ("succeeded", "live")):
        report = {"ref": made["pulse"]["ref"], "state": outcome, "observed_at": "2024-07-01T10:00:00Z"}
        path = f"/v2/devices/{device}/acks"
        assert (await client.post(path, json={"acks": [report]}, headers=bearer(made["token"]))).status_code == 200
        assert await state(client, device) == after
        again = await client.post(f"/v2/devices/{device}/pulse", headers=bearer(made["token"]))
        assert again.status_code == (202 if after == "claimed" else 409)
        made["pulse"] = again.json()


async def test_a_code_is_good_once_and_only_for_its_serial(client: Client) -> None:
    device = await register(client)
    await register(client, "B2")
    code = await claim(client, device)
    assert (await enrol(client, code, "B2")).status_code == 404
    both = await asyncio.gather(enrol(client, code), enrol(client, code))
    assert sorted(answer.status_code for answer in both) == [201, 404]
    refused = await enrol(client, code)
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:banyan:claim")


async def test_a_code_ends_with_its_time_and_with_a_newer_one(client: Client, database: Rows) -> None:
    device = await register(client)
    old = await claim(client, device)
    new = await claim(client, device)
    assert (await enrol(client, old)).status_code == 404
    database.execute("UPDATE claims SET expires_at = now()")
    assert (await enrol(client, new)).status_code == 404


async def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_key(client: Client) -> None:
    device = await register(client)
    code = await claim(client, device)
    key = {"Idempotency-Key": "boot-1"}
    first = (await enrol(client, code, **key)).json()["token"]
    second = await enrol(client, code, **key)
    assert second.status_code == 201
    assert await schedule(client, device, first) == 401
    assert await schedule(client, device, second.json()["token"]) == 200
    assert (await enrol(client, code, **{"Idempotency-Key": "boot-2"})).status_code == 404
    report = {"ref": second.json()["pulse"]["ref"], "state": "succeeded", "observed_at": "2024-07-01T10:00:00Z"}
    path = f"/v2/devices/{device}/acks"
    await client.post(path, json={"acks": [report]}, headers=bearer(second.json()["token"]))
    assert (await enrol(client, code, **key)).status_code == 404


async def test_five_wrong_codes_for_a_serial_end_its_claim(client: Client) -> None:
    device = await register(client)
    code = await claim(client, device)
    for _ in range(5):
        assert (await enrol(client, "0000-0000-0000")).status_code == 404
    assert (await enrol(client, code)).status_code == 404
    assert (await enrol(client, await claim(client, device))).status_code == 201


async def test_an_address_that_tries_too_often_is_told_to_wait(client: Client) -> None:
    client.app.state.tries = Tries(per_minute=2)
    answers = [await enrol(client, "0000-0000-0000") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 30
    other = await enrol(client, "0000-0000-0000", **{"X-Forwarded-For": "203.0.113.7"})
    assert other.status_code == 404, "through a gateway each client has its own tries"


async def test_a_new_token_takes_over_with_its_first_use_and_the_old_one_has_an_overlap(
    client: Client, database: Rows
) -> None:
    device = await register(client)
    old = (await enrol(client, await claim(client, device))).json()["token"]
    path = f"/v2/devices/{device}/token"
    lost = (await client.post(path, headers=bearer(old))).json()["token"]
    new = (await client.post(path, headers=bearer(old))).json()["token"]
    known = "SELECT token_sha1 FROM devices"
    before = database.execute(known).fetchone()
    assert await schedule(client, device, old) == 200
    assert database.execute(known).fetchone() == before
    assert await schedule(client, device, lost) == 401
    assert await schedule(client, device, new) == 200
    assert database.execute(known).fetchone() != before, "the monolith must know the token that the device uses"
    assert await schedule(client, device, old) == 200
    database.execute("UPDATE device_tokens SET expires_at = now()")
    assert await schedule(client, device, old) == 401
    assert await schedule(client, device, new) == 200


async def test_a_revoked_device_is_shut_out_until_it_is_claimed_again(client: Client) -> None:
    device = await register(client)
    token = (await enrol(client, await claim(client, device))).json()["token"]
    new = (await client.post(f"/v2/devices/{device}/token", headers=bearer(token))).json()["token"]
    assert (await client.delete(f"/v2/devices/{device}/token", headers=BACK_OFFICE)).status_code == 204
    assert [await schedule(client, device, each) for each in (token, new)] == [401, 401]
    assert await state(client, device) == "revoked"
    again = await enrol(client, await claim(client, device))
    assert await schedule(client, device, again.json()["token"]) == 200


async def test_a_device_asks_for_itself_only(client: Client) -> None:
    device, other = await register(client), await register(client, "B2")
    token = (await enrol(client, await claim(client, device))).json()["token"]
    for method, path in (("POST", "token"), ("POST", "pulse"), ("GET", "enrolment")):
        answer = await client.request(method, f"/v2/devices/{other}/{path}", headers=bearer(token))
        assert answer.status_code == 403, path
    for method, path in (("POST", "claims"), ("DELETE", "token")):
        body = {"json": {}} if method == "POST" else {}
        answer = await client.request(method, f"/v2/devices/{device}/{path}", headers=bearer(token), **body)
        assert answer.status_code == 403, path
    assert (await client.post("/v2/devices/999/claims", json={}, headers=BACK_OFFICE)).status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"code": "x"}, {"code": "", "serial": "B1"}, {"code": "a", "serial": "b", "x": 1}]
)
async def test_a_bad_enrolment_is_refused(client: Client, body: dict[str, object]) -> None:
    assert (await client.post("/v2/enrolments", json=body)).status_code == 400


async def test_a_device_that_was_registered_in_the_monoliths_way_is_live(client: Client) -> None:
    assert await state(client, await register(client)) == "live"
