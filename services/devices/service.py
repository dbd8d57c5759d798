"""The application factory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from litestar import Litestar
from litestar.datastructures import State

from services.chassis.application import create_app
from services.chassis.settings import Settings
from services.devices.fleet.job import FleetJob
from services.devices.fleet.settings import FleetSettings
from services.devices.market.job import Job
from services.devices.market.metrics import MarketMetrics
from services.devices.market.source import Source
from services.devices.optimizer.metrics import PlannerMetrics
from services.devices.optimizer.planner import Planner
from services.devices.routes import ROUTES
from services.devices.store.tokens import device_lookup

MIGRATIONS = Path(__file__).parent / "migrations"


def devices(settings: Settings, market: Source | None = None, fleet: FleetSettings = FleetSettings()) -> Litestar:
    """`market`: where imbalance prices come from; without it the market writes no commands here."""

    @contextlib.asynccontextmanager
    async def background(state: State) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(job.running(state))
            if market is not None:
                state.market = True
                await stack.enter_async_context(Job(state.engine, state.metrics, counts, market).running())
            yield

    app = create_app(
        settings,
        ROUTES,
        migrations=MIGRATIONS,
        title="Devices",
        device_lookup=device_lookup,
        background=background,
    )
    registry = app.state.metrics.registry
    counts = MarketMetrics(registry)
    app.state.planner = Planner(PlannerMetrics(registry))
    reader = app.state.engine.execution_options(isolation_level="AUTOCOMMIT")
    job = FleetJob(app, fleet, device_lookup(reader))
    return app
