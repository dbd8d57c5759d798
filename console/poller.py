"""Asks every source once a second, in one background task for all viewers, and keeps what each said last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from console.history import History
from console.readings import Part, Readings
from console.sources import Source

log = logging.getLogger(__name__)

#: A source that takes longer counts as failing, though it is still being waited for. Seconds.
PATIENCE_S = 4.0
PARTS = ("gateway", "streams", "ledger", "components")


class Poller:
    """`readings` is always the newest; `tick` is called about once a second after a change."""

    def __init__(
        self,
        source: Source,
        history: History,
        interval_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.readings = Readings()
        self.polls: dict[str, tuple[int, int]] = dict.fromkeys(PARTS, (0, 0))  # answered, failed
        self.seconds: dict[str, float] = {}
        self._source, self._history, self._interval_s, self._now = source, history, interval_s, now

    @property
    def ready(self) -> bool:
        """Every source has been asked once, whatever it said."""
        return all(sum(counts) for counts in self.polls.values())

    async def run(self, tick: Callable[[], None]) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in PARTS:
                group.create_task(self._follow(part))
            group.create_task(self._ticks(tick))

    async def _ticks(self, tick: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self._history.add(self._now(), self.readings.gateway)
            try:
                tick()
            except Exception:
                log.exception("the page could not be drawn from what the sources say")

    async def _follow(self, part: str) -> None:
        read: Callable[[], Awaitable[Any]] = getattr(self._source, part)
        while True:
            started = time.monotonic()
            reading = asyncio.ensure_future(read())
            try:
                await self._wait(part, reading)
            finally:
                reading.cancel()
            self.seconds[part] = time.monotonic() - started
            await asyncio.sleep(max(0.0, self._interval_s - self.seconds[part]))

    async def _wait(self, part: str, reading: asyncio.Future[Any]) -> None:
        """A thread cannot be interrupted: a source that hangs is said to fail, and is not asked again meanwhile."""
        done, _ = await asyncio.wait([reading], timeout=PATIENCE_S)
        if not done:
            self._set(part, lambda before: before.failed(f"no answer within {PATIENCE_S:g} s", self._now()))
        with contextlib.suppress(Exception):
            await asyncio.wait([reading])
        error = reading.exception()
        answered, failed = self.polls[part]
        if error is None:
            self.polls[part] = (answered + 1, failed)
            self._set(part, lambda before: before.said(reading.result(), self._now()))
        else:
            self.polls[part] = (answered, failed + 1)
            if not isinstance(error, Exception):
                raise error
            text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            self._set(part, lambda before: before.failed(text, self._now()))

    def _set(self, part: str, change: Callable[[Part[Any]], Part[Any]]) -> None:
        before: Part[Any] = getattr(self.readings, part)
        self.readings = replace(self.readings, **{part: change(before)})
