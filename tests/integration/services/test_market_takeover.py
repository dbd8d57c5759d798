"""The monolith's minute job and the service's, both running all the time: the guard lets through the owner's alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from banyan.servers import Postgres
from cdc.guard.install import install
from cdc.guard.ownership import fence, read_ownership, set_owner
from cdc.guard.waves import WHOLE
from cdc.mapping.load import load
from legacy_monolith import seed
from legacy_monolith.cron import imbalance
from legacy_monolith.cron import job as monolith
from services.chassis.database import create_engine
from services.chassis.metrics import Metrics
from services.chassis.settings import sqlalchemy_url
from services.devices.market.job import Job
from services.devices.market.metrics import MarketMetrics
from services.devices.market.source import Source
from tests.integration.services.conftest import settings
from tests.integration.services.market_source import serving
from tests.integration.services.processes import ROOT, migrated, monolith_database

FIRST = datetime(2024, 5, 2, 12, 0, 5, tzinfo=UTC)
FLEET = 10


class Both:
    """Two databases with the same batteries and their guards, two jobs, one source; `owner` says whose the fleet is."""

    def __init__(self, legacy: str, service: str, job: Job, tell: object, clock: list[datetime]) -> None:
        self.legacy, self.service, self.job, self._tell, self._clock = legacy, service, job, tell, clock
        self._engine = sa.create_engine(sqlalchemy_url(legacy), poolclass=sa.pool.NullPool)
        self._guards = [psycopg.connect(dsn, autocommit=True) for dsn in (legacy, service)]

    def prepare(self) -> None:
        mapping = load(ROOT / "migration_plan" / "mappings" / "devices.yaml")
        for guard, side in zip(self._guards, ("legacy", "service"), strict=True):
            install(guard, mapping, side, WHOLE)

    def move(self, owner: str) -> None:
        """As a switch does: fenced at the one, opened at the other, then told to the first."""
        giver, taker = self._guards if owner == "service" else reversed(self._guards)
        (wave,) = read_ownership(giver, "devices")
        moving = fence(giver, "devices", 0, wave.epoch, 900)
        (other,) = read_ownership(taker, "devices")
        set_owner(taker, "devices", 0, owner, other.epoch, moving.epoch)
        set_owner(giver, "devices", 0, owner, moving.epoch, moving.epoch)

    async def minute(self, number: int) -> tuple[int, int, set[str]]:
        """Both jobs run; commands written by either (legacy, service), and their references."""
        now = self._clock[0] = FIRST + timedelta(minutes=number)
        imbalance.write(self.legacy, now, Decimal(-20))
        self._tell(now.replace(second=0), -20)  # type: ignore[operator]
        monolith.run(self._engine, None, now)
        async with httpx.AsyncClient() as client:
            await self.job.once(client)
        await self.job.deliver()
        stamp = f"imb-{now:%Y%m%d%H%M}-%"
        refs = [
            {ref for (ref,) in guard.execute(f"SELECT ref FROM {table} WHERE ref LIKE %s", [stamp])}
            for guard, table in zip(self._guards, ("battery_command", "commands"), strict=True)
        ]
        return len(refs[0]), len(refs[1]), refs[0] | refs[1]

    def close(self) -> None:
        for guard in self._guards:
            guard.close()


@pytest.fixture
def databases(postgres: Postgres, service_postgres: Postgres) -> tuple[str, str]:
    legacy, service = monolith_database(postgres), migrated(service_postgres, "devices")
    seed.seed(legacy, FLEET, "s")
    with psycopg.connect(service) as connection:
        connection.execute(
            "INSERT INTO devices (id, serial, customer_id, model, capacity_wh, max_power_w, state, token_sha1)"
            " SELECT n, 's' || n, 1, 'P', 10000, 5000, 'active', n FROM generate_series(1, %s) n",
            [FLEET],
        )
    return legacy, service


@pytest.fixture
async def both(databases: tuple[str, str]) -> AsyncIterator[Both]:
    legacy, service = databases
    engine, clock = create_engine(settings("devices", service)), [FIRST]
    with ExitStack() as stack:
        source = stack.enter_context(serving())
        metrics = Metrics("devices")
        counts = MarketMetrics(metrics.registry)
        job = Job(engine, metrics, counts, Source(source.url, "elia", "NL"), now=lambda: clock[0], pause=0.001)
        made = Both(legacy, service, job, source.tell, clock)
        stack.callback(made.close)
        made.prepare()
        yield made
    await engine.dispose()


async def test_each_minute_has_one_command_a_battery_from_the_side_that_owns_it_there_and_back(both: Both) -> None:
    seen = [await both.minute(0)]
    both.move("service")
    seen += [await both.minute(1), await both.minute(2)]
    both.move("legacy")
    seen.append(await both.minute(3))
    assert [(legacy, service) for legacy, service, _ in seen] == [(FLEET, 0), (0, FLEET), (0, FLEET), (FLEET, 0)]
    assert [len(refs) for _, _, refs in seen] == [FLEET] * 4
