"""The device service in this process, over a database with one customer, and a battery that is registered there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from litestar.testing import AsyncTestClient

from banyan.servers import Postgres
from services.devices.service import devices
from tests.integration.services.conftest import Client, settings
from tests.integration.services.fleet.batteries import Battery, database, register


@pytest.fixture
def dsn(service_postgres: Postgres) -> str:
    return database(service_postgres)


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with AsyncTestClient(devices(settings("devices", dsn))) as client:
        yield client


@pytest.fixture
async def battery(client: Client) -> Battery:
    return await register(client)


@pytest.fixture
def rows(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection
