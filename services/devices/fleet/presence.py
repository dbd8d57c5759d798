"""Who is there: calls are noted together every few seconds, silence is looked for, old days are dropped."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.devices.fleet.settings import FleetSettings
from services.devices.store import assignments, partitions, presence

log = structlog.get_logger()

#: Seconds between two notes, and between two looks for what is old.
EVERY, OLD_EVERY = 2.0, 3600.0
PART = 1000
#: Days for which partitions are made beforehand: so long the job may be away.
AHEAD = 7


class PresenceJob:
    def __init__(self, engine: AsyncEngine, settings: FleetSettings) -> None:
        self._engine, self._settings = engine, settings
        self._seen: dict[int, datetime] = {}
        self._old_at = 0.0

    @property
    def telemetry_days(self) -> int:
        return self._settings.telemetry_days

    def saw(self, device_id: int) -> None:
        """It called, just now."""
        self._seen[device_id] = datetime.now(UTC)

    async def note(self) -> None:
        """Note who called since the last time; who could not be noted is noted the next time."""
        while self._seen:
            part = {id_: self._seen[id_] for id_ in list(self._seen)[:PART]}
            async with self._engine.begin() as connection:
                await presence.seen(connection, part, "http")
            for id_, at in part.items():
                if self._seen.get(id_) == at:
                    del self._seen[id_]

    async def look_for_silence(self, now: datetime) -> int:
        """How many are gone."""
        total = 0
        while True:
            async with self._engine.begin() as connection:
                after = timedelta(seconds=self._settings.offline_after_s)
                gone = await presence.silent(connection, now, after, PART)
            total += len(gone)
            if len(gone) < PART:
                return total

    async def clear_out(self, now: datetime) -> None:
        """Make the coming days' partitions, drop those that are too old, forget old comings and goings."""
        async with self._engine.begin() as connection:
            made = await partitions.make(connection, self._settings.telemetry_days, AHEAD)
        async with self._engine.begin() as connection:
            dropped = await partitions.drop(connection, self._settings.log_days, self._settings.telemetry_days)
            await presence.forget(connection, now - timedelta(days=self._settings.log_days))
        if made or dropped:
            log.info("partitions", made=made, dropped=dropped)

    async def remember_epochs(self) -> None:
        async with self._engine.begin() as connection:
            await assignments.remember(connection)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self.note()
                await self.remember_epochs()
                now = datetime.now(UTC)
                await self.look_for_silence(now)
                if loop.time() >= self._old_at:
                    await self.clear_out(now)
                    self._old_at = loop.time() + OLD_EVERY
            except (SQLAlchemyError, OSError) as error:
                log.warning("presence is not noted yet", error=str(error).splitlines()[0])
            await asyncio.sleep(EVERY)
