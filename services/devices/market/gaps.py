"""Which stretches before the newest price have none."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.market import prices
from services.devices.market.prices import Price
from services.devices.store import imbalance

#: Looked at for gaps; the stretch after the newest price may still come.
LOOK_BACK = timedelta(hours=2)


async def find_gaps(connection: AsyncConnection, newest: Price) -> list[datetime]:
    step = timedelta(minutes=newest.minutes)
    since = newest.starts_at - step * int(LOOK_BACK / step)
    found = await imbalance.starts(connection, newest.area, newest.minutes, since, newest.ends_at)
    # Before the first price ever there is nothing to miss.
    return prices.gaps(found, newest.minutes, min(found, default=since), newest.starts_at)
