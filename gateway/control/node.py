"""This gateway node as its admin process sees it: the table's keeper, the workers' figures, the link to other nodes."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

from gateway.control import stored
from gateway.control.figures import Figures
from gateway.control.keeper import Keeper
from gateway.control.pinrelay import PinRelay
from gateway.control.spread import Spread
from gateway.policies.pins import PinBoard
from gateway.settings import Settings
from gateway.tail.relay import Tails

LOOK_SECONDS = 0.5
FRESH_SECONDS = 0.05  # several readers at once share one look


class Node:
    def __init__(self, settings: Settings) -> None:
        self.name = uuid4().hex  # of this life: its counters begin at 0
        self.workers = settings.workers
        self.figures = Figures()
        self.applied = 0  # workers that answered last time, with the newest table
        self.keeper = Keeper(settings, stored.load(settings.table_file, settings.table))
        self.spread = Spread(settings.redis_url, self.keeper) if settings.redis_url else None
        if self.spread is not None:
            self.keeper.claim = self.spread.claim
        self.tails = Tails(settings)
        self._pins: PinRelay | None = None
        if settings.shares_pins:
            self._pins = PinRelay(settings, PinBoard(settings.pins_file, shared=True))
        self._looked = 0.0
        self._lock = asyncio.Lock()

    async def look(self) -> None:
        """Ask all workers for their figures; one that is behind gets the table again."""
        async with self._lock:
            now = time.monotonic()
            if now - self._looked < FRESH_SECONDS:
                return
            answers = await self.keeper.ask_all({"do": "figures"})
            self._looked = time.monotonic()
            self.figures.take(self._looked, answers)
            wanted = self.keeper.table.version
            self.applied = sum(answer is not None and answer["version"] == wanted for answer in answers)
            if any(answer is not None and answer["version"] < wanted for answer in answers):
                await self.keeper.push()

    async def samples(self, domain: str | None = None) -> list[dict[str, Any]]:
        """Pairs of answers that differed, of all workers, oldest first."""
        answers = await self.keeper.ask_all({"do": "samples"})
        found = [sample for answer in answers if answer is not None for sample in answer["samples"]]
        return sorted((s for s in found if domain in (None, s["domain"])), key=lambda s: float(s["at"]))

    async def run(self) -> None:
        """Until cancelled."""
        if self._pins is not None:
            self._pins.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                if self.spread is not None:
                    tasks.create_task(self.spread.run())
        finally:
            if self._pins is not None:
                await asyncio.to_thread(self._pins.stop)

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)
