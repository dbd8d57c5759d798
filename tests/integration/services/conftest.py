"""Services in this process over real databases (most tests), and as processes beside the monolith (the rest)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from banyan.servers import Postgres
from services.chassis.settings import Settings, sqlalchemy_url
from services.pricing.service import pricing
from tests.integration.services.processes import BACK_OFFICE, KEY, SECRET, migrated

Client = AsyncTestClient[Litestar]


def settings(service: str, dsn: str, **more: object) -> Settings:
    return Settings(service, sqlalchemy_url(dsn), SECRET, KEY, **{"pool_size": 4, **more})  # type: ignore[arg-type]


@pytest.fixture
def pricing_dsn(service_postgres: Postgres) -> str:
    """A pricing database with two customers."""
    dsn = migrated(service_postgres, "pricing")
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO customer_refs (id) VALUES (1), (2)")
    return dsn


@pytest.fixture
async def anyone(pricing_dsn: str) -> AsyncIterator[Client]:
    """A client of pricing without credentials."""
    async with AsyncTestClient(pricing(settings("pricing", pricing_dsn))) as client:
        yield client


@pytest.fixture
async def back_office(pricing_dsn: str) -> AsyncIterator[Client]:
    """A client of pricing that sends the back-office key."""
    async with AsyncTestClient(pricing(settings("pricing", pricing_dsn))) as client:
        client.headers.update(BACK_OFFICE)
        yield client


@pytest.fixture
def rows(pricing_dsn: str) -> Iterator[Callable[[str], list[tuple[object, ...]]]]:
    """Asks pricing's database."""
    with psycopg.connect(pricing_dsn, autocommit=True) as connection:
        yield lambda query: connection.execute(query).fetchall()
