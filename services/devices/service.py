"""The application factory."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from litestar import Litestar
from litestar.datastructures import State

from services.chassis.application import create_app
from services.chassis.settings import Settings
from services.devices.fleet.tries import Tries
from services.devices.market.job import Job
from services.devices.market.metrics import MarketMetrics
from services.devices.market.source import Source
from services.devices.optimizer.metrics import PlannerMetrics
from services.devices.optimizer.planner import Planner
from services.devices.routes import ROUTES
from services.devices.store.tokens import device_lookup

MIGRATIONS = Path(__file__).parent / "migrations"


def devices(settings: Settings, market: Source | None = None) -> Litestar:
    """`market`: where imbalance prices come from; without it no commands are written here."""

    def job(state: State) -> AbstractAsyncContextManager[None]:
        assert market is not None
        state.market = True
        return Job(state.engine, state.metrics, counts, market).running()

    app = create_app(
        settings,
        ROUTES,
        migrations=MIGRATIONS,
        title="Devices",
        device_lookup=device_lookup,
        background=None if market is None else job,
    )
    app.state.tries = Tries()
    registry = app.state.metrics.registry
    counts = MarketMetrics(registry)
    app.state.planner = Planner(PlannerMetrics(registry))
    return app
