"""The ingester: asks the source, keeps what is new, looks for gaps."""

from __future__ import annotations

from datetime import datetime

import httpx
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from services.chassis.database import transaction
from services.devices.market import source
from services.devices.market.errors import MarketError
from services.devices.market.gaps import find_gaps
from services.devices.market.metrics import MarketMetrics
from services.devices.market.source import Source
from services.devices.store import imbalance

log = structlog.get_logger()


async def ingest(
    engine: AsyncEngine,
    where: Source,
    client: httpx.AsyncClient,
    metrics: MarketMetrics,
    now: datetime,
    pause: float = 0.5,
) -> int | None:
    """How many prices were new or corrected; None, and a counted failure, when the source gave nothing usable."""
    try:
        told = await source.fetch(where, client, pause=pause)
    except MarketError as error:
        metrics.runs.labels(type(error).__name__).inc()
        log.warning("no imbalance prices", reason=str(error))
        return None
    async with transaction(engine) as connection:
        new = await imbalance.append(connection, told) if told else 0
        await imbalance.forget(connection, where.area, now)
        newest = await imbalance.newest(connection, where.area, now)
        missing = [] if newest is None else await find_gaps(connection, newest)
    metrics.runs.labels("ok").inc()
    metrics.revisions.inc(new)
    metrics.gaps.set(len(missing))
    if newest is not None:
        metrics.price_at.set(newest.starts_at.timestamp())
    if missing:
        log.warning("imbalance prices are missing", area=where.area, count=len(missing), first=missing[0].isoformat())
    return new
