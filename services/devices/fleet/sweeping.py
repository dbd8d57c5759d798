"""Ends commands whose time is over: nobody else would say of them that they never came."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.devices.fleet.watching import Watching
from services.devices.store import progress

log = structlog.get_logger()

#: Seconds.
EVERY = 5.0
PART = 1000


class Sweeping:
    def __init__(self, engine: AsyncEngine, watching: Watching, *, every: float = EVERY) -> None:
        self._engine, self._watching, self._every = engine, watching, every

    async def sweep(self, now: datetime) -> int:
        """How many were ended."""
        total = 0
        while True:
            async with self._engine.begin() as connection:
                ended = await progress.sweep(connection, now, PART)
                moved = await progress.of_refs(connection, ended) if ended and self._watching.anybody else []
            await self._watching.tell(moved)
            total += len(ended)
            if len(ended) < PART:
                return total

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.sweep(datetime.now(UTC))
            except (SQLAlchemyError, OSError) as error:
                log.warning("commands are not swept", error=str(error).splitlines()[0])
