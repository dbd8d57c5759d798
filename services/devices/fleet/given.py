"""Notes, a moment later and many at once, that commands were given to their devices: `queued` becomes `sent`.

A process that dies before it has noted them loses nothing: the device's ack makes the same step, and more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.devices.fleet.watching import Watching
from services.devices.store import progress

log = structlog.get_logger()

#: Seconds between two notes, and how many commands one may have; beyond MOST the newest are left to their acks.
EVERY = 0.2
PART = 1000
MOST = 50_000


class Given:
    def __init__(self, engine: AsyncEngine, watching: Watching) -> None:
        self._engine, self._watching = engine, watching
        self._refs: dict[str, None] = {}

    def add(self, refs: Iterable[str]) -> None:
        for ref in refs:
            if len(self._refs) < MOST:
                self._refs[ref] = None

    async def note(self) -> None:
        """Note what there is now."""
        while self._refs:
            part = list(self._refs)[:PART]
            async with self._engine.begin() as connection:
                news = await progress.sent(connection, part)
                moved = await progress.of_refs(connection, news) if self._watching.anybody and news else []
            for ref in part:
                self._refs.pop(ref, None)
            await self._watching.tell(moved)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.note()
            except (SQLAlchemyError, OSError) as error:
                log.warning("given commands are not noted yet", error=str(error).splitlines()[0])
