"""The minute job of the service: ask the source, tell the minute's price, deliver what waits.

Every process of the service runs it; prices and ticks are made once. It also runs while legacy owns the devices: then
prices are kept, and the guard refuses the commands, so that nothing is missing at the moment of a switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.chassis.database import transaction
from services.chassis.messages import Relay
from services.chassis.metrics import Metrics
from services.devices.market.decide import Rules
from services.devices.market.ingest import ingest
from services.devices.market.metrics import MarketMetrics
from services.devices.market.pipeline import Pipeline
from services.devices.market.source import Source
from services.devices.store import imbalance

log = structlog.get_logger()

#: Messages die after a minute; a fleet's parts of a fortnight would be gigabytes.
FORGET_AFTER = timedelta(hours=2)


def until_next_minute() -> float:
    """Seconds."""
    return 60 - time.time() % 60


class Job:
    def __init__(
        self,
        engine: AsyncEngine,
        metrics: Metrics,
        counts: MarketMetrics,
        source: Source,
        *,
        rules: Rules = Rules(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[], float] = until_next_minute,
        pause: float = 0.5,
    ) -> None:
        self._engine, self._source, self._now, self._wait, self._pause = engine, source, now, wait, pause
        self._counts = counts
        self._pipeline = Pipeline(counts, rules, now)
        self._relay = Relay(engine, self._pipeline.consumers(), metrics, forget_after=FORGET_AFTER)

    async def once(self, client: httpx.AsyncClient) -> bool:
        """One run; whether this process told the minute's price. A source that is away does not end the last price."""
        await ingest(self._engine, self._source, client, self._counts, self._now(), self._pause)
        async with transaction(self._engine) as connection:
            price = await imbalance.newest(connection, self._source.area, self._now())
            return await self._pipeline.tick(connection, price, self._now())

    async def deliver(self) -> int:
        """Hand on what waits, now; how many messages were tried."""
        return await self._relay.drain()

    async def run(self) -> None:
        """At each full minute, for ever."""
        async with httpx.AsyncClient(follow_redirects=False) as client:
            while True:
                try:
                    await self.once(client)
                except (SQLAlchemyError, OSError) as error:
                    log.warning("market run failed", error=str(error).splitlines()[0])
                except Exception:  # a job that ended would steer no battery, and nobody would see it
                    log.exception("market run failed")
                await asyncio.sleep(self._wait())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run, and deliver, in the background of the block."""
        task = asyncio.create_task(self.run(), name="market")
        try:
            async with self._relay.running():
                yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
