"""A command's progress over a WebSocket: from its beginning to its end, also when another process moves it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from banyan.servers import Postgres, Redis
from tests.integration.services.fleet.batteries import Battery, database, register
from tests.integration.services.processes import BACK_OFFICE, running_service


@pytest.fixture(scope="module")
def dsn(service_postgres: Postgres) -> str:
    return database(service_postgres)


@pytest.fixture(scope="module")
def urls(dsn: str, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two processes of the service over one database and one registry."""
    folder = tmp_path_factory.mktemp("devices")
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(running_service("devices", dsn, folder / f"{n}", DEVICES_REDIS_URL=redis_server.url))
            for n in range(2)
        ]


@pytest.fixture
async def clients(urls: list[str]) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30)) for url in urls]


@pytest.fixture
async def battery(clients: list[httpx.AsyncClient], request: pytest.FixtureRequest) -> Battery:
    return await register(clients[0], request.node.name[-40:])


def watch(url: str, correlation_id: object, headers: dict[str, str] = BACK_OFFICE) -> connect:
    address = f"{url.replace('http', 'ws', 1)}/v2/commands/{correlation_id}/progress"
    return connect(address, additional_headers=headers, proxy=None)


async def state(socket: ClientConnection) -> str:
    async with asyncio.timeout(10):
        return str(json.loads(await socket.recv())["state"])


async def end(socket: ClientConnection) -> int:
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code or 0


async def test_all_states_come_as_they_happen_and_then_it_ends(urls: list[str], battery: Battery) -> None:
    made = (await battery.command()).json()
    async with watch(urls[0], made["correlation_id"]) as socket:
        assert await state(socket) == "queued"
        await battery.document()
        assert await state(socket) == "sent"
        for word in ("delivered", "succeeded"):
            await battery.ack(made["ref"], word)
            assert await state(socket) == word
        assert await end(socket) == 1000


async def test_another_process_that_moves_it_is_heard_at_once(
    urls: list[str], clients: list[httpx.AsyncClient], battery: Battery
) -> None:
    made = (await battery.command()).json()
    async with watch(urls[1], made["correlation_id"]) as socket:
        assert await state(socket) == "queued"
        began = time.monotonic()
        await battery.ack(made["ref"], "succeeded")
        assert await state(socket) == "succeeded"
        assert time.monotonic() - began < 1, "sooner than it would have looked by itself"
        assert await end(socket) == 1000


async def test_the_registry_forgets_by_itself(urls: list[str], battery: Battery, redis_server: Redis) -> None:
    made = (await battery.command()).json()
    async with watch(urls[0], made["correlation_id"]) as socket:
        await state(socket)
        with redis.Redis.from_url(redis_server.url) as registry:
            key = f"banyan:devices:watchers:{made['correlation_id']}"
            assert registry.scard(key) == 1
            assert 0 < registry.ttl(key) <= 90


async def test_a_word_that_was_lost_is_found_in_the_database(urls: list[str], battery: Battery, dsn: str) -> None:
    made = (await battery.command()).json()
    async with watch(urls[0], made["correlation_id"]) as socket:
        assert await state(socket) == "queued"
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "UPDATE command_progress SET state = 'timed_out', settled_at = now() WHERE ref = %s", [made["ref"]]
            )
        assert await state(socket) == "timed_out"


async def test_who_comes_late_hears_all_of_it(urls: list[str], battery: Battery) -> None:
    made = (await battery.command()).json()
    await battery.ack(made["ref"], "failed")
    async with watch(urls[0], made["correlation_id"]) as socket:
        assert [await state(socket), await state(socket)] == ["queued", "failed"]
        assert await end(socket) == 1000


async def test_only_the_back_office_watches_and_only_what_there_is(urls: list[str], battery: Battery) -> None:
    made = (await battery.command()).json()
    for headers in ({}, battery.bearer, {"X-Api-Key": "wrong"}):
        async with watch(urls[0], made["correlation_id"], headers) as socket:
            assert await end(socket) == 4401
    async with watch(urls[0], uuid4()) as socket:
        assert await end(socket) == 4404
