"""Devices that wait for their document, at a real server: woken at once, bounded, ended when they are shut out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from banyan.servers import Postgres
from tests.integration.services.fleet.batteries import DAY, Battery, database, register
from tests.integration.services.processes import BACK_OFFICE, running_service

HOLD = [{"from": "00:00", "to": "24:00", "mode": "hold", "power_w": 0}]
Change = Callable[[Battery], Awaitable[object]]


@pytest.fixture(scope="module")
def dsn(service_postgres: Postgres) -> str:
    return database(service_postgres)


@pytest.fixture(scope="module")
def url(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("devices") / "log"
    with running_service("devices", dsn, log, DEVICES_MOST_WAITING="20") as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=100)) as client:
        yield client


@pytest.fixture
async def battery(client: httpx.AsyncClient, request: pytest.FixtureRequest) -> Battery:
    return await register(client, request.node.name[-40:])


async def waits(battery: Battery, seconds: int = 20, **headers: str) -> asyncio.Task[httpx.Response]:
    """A long poll with what is known now, once the service has it."""
    etag = (await battery.document()).headers["ETag"]
    before = await waiting(battery)
    wanted = {"If-None-Match": etag, "Prefer": f"respond-async, wait={seconds}", **headers}
    task = asyncio.create_task(battery.document(**wanted))
    await reached(lambda: waiting(battery), before + 1)
    return task


async def waiting(battery: Battery) -> int:
    text = (await battery.client.get("/metrics")).text
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("banyan_devices_waiting "))))


async def reached(look: Callable[[], Awaitable[int]], wanted: int) -> None:
    deadline = time.monotonic() + 10
    while await look() != wanted:
        assert time.monotonic() < deadline, f"{await look()} never became {wanted}"
        await asyncio.sleep(0.01)


async def old_way(battery: Battery) -> None:
    path = f"/api/devices/{battery.id}/schedule"
    put = await battery.client.put(path, json={"slots": "0000-2400 H0"}, headers=BACK_OFFICE)
    assert put.status_code == 200


CHANGES: dict[str, Change] = {
    "a schedule": lambda battery: battery.publish(DAY),
    "the monolith's way": old_way,
    "a fallback": lambda battery: battery.publish([], fallback=HOLD),
    "a command": lambda battery: battery.command(),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_wakes_who_waits_for_it(battery: Battery, change: str) -> None:
    task = await waits(battery)
    began = time.perf_counter()
    await CHANGES[change](battery)
    answer = await task
    assert answer.status_code == 200, answer.text
    assert time.perf_counter() - began < 2
    assert answer.headers["Preference-Applied"] == "wait=20"
    plain = await battery.document()
    assert (answer.headers["ETag"], answer.json()) == (plain.headers["ETag"], plain.json())
    assert answer.headers["content-type"] == plain.headers["content-type"]


async def test_a_command_that_is_taken_back_wakes_too_and_one_that_was_given_is_sent(battery: Battery) -> None:
    task = await waits(battery)
    made = (await battery.command()).json()
    assert [c["ref"] for c in (await task).json()["commands"]] == [made["ref"]]
    path = f"/v2/commands/{made['correlation_id']}"

    async def is_sent() -> int:
        return int((await battery.client.get(path, headers=BACK_OFFICE)).json()["state"] == "sent")

    await reached(is_sent, 1)
    task = await waits(battery)
    await battery.client.delete(path, headers=BACK_OFFICE)
    assert (await task).json()["commands"] == []


async def test_what_changed_before_it_came_is_answered_at_once(battery: Battery) -> None:
    etag = (await battery.document()).headers["ETag"]
    await battery.publish(DAY)
    answer = await battery.document(**{"If-None-Match": etag, "Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["version"]) == (200, 1)


async def test_after_its_time_a_wait_ends_with_nothing_new(battery: Battery) -> None:
    began = time.perf_counter()
    answer = await (await waits(battery, 1))
    assert (answer.status_code, answer.content, answer.headers["Preference-Applied"]) == (304, b"", "wait=1")
    assert answer.headers["ETag"] == '"0"'
    assert time.perf_counter() - began >= 1


async def test_a_newer_wait_of_a_device_ends_the_older_one(battery: Battery) -> None:
    older = await waits(battery)
    newer = asyncio.create_task(battery.document(**{"If-None-Match": '"0"', "Prefer": "wait=20"}))
    assert (await older).status_code == 304
    await battery.publish(DAY)
    assert (await newer).status_code == 200


async def test_others_changes_wake_nobody(client: httpx.AsyncClient, battery: Battery) -> None:
    other = await register(client, "other")
    task = await waits(battery, 2)
    await other.publish(DAY)
    assert (await task).status_code == 304


async def test_who_is_shut_out_while_it_waits_is_told_so(battery: Battery) -> None:
    task = await waits(battery)
    await battery.office("DELETE", "/token")
    assert (await task).status_code == 401
    again = await battery.document(**{"If-None-Match": '"0"', "Prefer": "wait=20"})
    assert again.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"If-None-Match": '"0"', "Via": "1.1 banyan"}, {"If-None-Match": '"0", "1"'}, {"If-None-Match": "*"}, {}],
    ids=["through a gateway", "two versions", "any", "none"],
)
async def test_what_should_not_wait_is_answered_at_once(battery: Battery, headers: dict[str, str]) -> None:
    answer = await battery.document(**{"Prefer": "wait=20", **headers})
    assert answer.status_code in (200, 304)
    assert "Preference-Applied" not in answer.headers


async def test_with_a_device_that_is_known_to_others_by_a_newer_epoch_it_does_not_wait(battery: Battery) -> None:
    ahead = {"If-None-Match": '"0"', "Prefer": "wait=20", "Banyan-Assignment-Epoch": "7"}
    assert (await battery.document(**ahead)).status_code == 409


async def test_only_its_own_device_waits(client: httpx.AsyncClient, battery: Battery) -> None:
    other = await register(client, "stranger")
    path = f"/v2/devices/{other.id}/schedule"
    answer = await client.get(path, headers={**battery.bearer, "If-None-Match": '"0"', "Prefer": "wait=20"})
    assert answer.status_code == 403


async def test_one_more_than_may_wait_is_answered_at_once(client: httpx.AsyncClient) -> None:
    fleet = [await register(client, f"many {n}") for n in range(21)]
    tasks = [await waits(battery, 5) for battery in fleet[:20]]
    answer = await fleet[20].document(**{"If-None-Match": '"0"', "Prefer": "wait=5"})
    assert (answer.status_code, "Preference-Applied" in answer.headers) == (304, False)
    ids = [battery.id for battery in fleet]
    await client.put("/v2/schedules", json={"device_ids": ids, "slots": DAY}, headers=BACK_OFFICE)
    assert {(await task).status_code for task in tasks} == {200}


async def test_when_the_database_cuts_the_listener_off_a_change_is_found_after_it_is_back(
    battery: Battery, dsn: str
) -> None:
    task = await waits(battery)
    with psycopg.connect(dsn, autocommit=True) as connection:

        def listeners() -> list[tuple[Any, ...]]:
            return connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE application_name = 'devices listener' AND datname = current_database()"
            ).fetchall()

        (before,) = listeners()
        connection.execute("SELECT pg_terminate_backend(%s)", before)
        await battery.publish(DAY)
    assert (await task).status_code == 200


async def test_the_service_ends_soon_though_devices_wait(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("devices") / "log"
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(running_service("devices", dsn, log))
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            task = await waits(await register(client, "ends"), 50)
            began = time.monotonic()
            await asyncio.to_thread(stack.close)
            assert time.monotonic() - began < 10
            with contextlib.suppress(httpx.TransportError):
                assert (await task).status_code == 304
