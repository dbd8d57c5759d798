"""The tick of a worker: the grain of its `now` and of every time limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.http1.overdue import overdue

if TYPE_CHECKING:
    from gateway.core import Gateway

TICK = 0.1  # seconds
TICKS_PER_SWEEP = 5  # connections are looked at less often than requests

log = structlog.get_logger("gateway.clock")


class Clock:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ticks = 0

    async def run(self) -> None:
        """Until cancelled. A worker whose clock stands still has no time limits and no log: no defect may stop it."""
        while True:
            await asyncio.sleep(TICK)
            try:
                self.tick()
            except Exception:
                log.exception("a tick of the clock failed")

    def tick(self) -> None:
        gateway = self._gateway
        now = gateway.now = gateway.loop.time()
        self._look_at_exchanges(now)
        if gateway.log is not None:
            gateway.log.flush()
        self._ticks += 1
        if self._ticks % TICKS_PER_SWEEP == 0:
            self._sweep(now)

    def _look_at_exchanges(self, now: float) -> None:
        for exchange in list(self._gateway.active):
            if not exchange.over and (cause := overdue(exchange, now)) is not None:
                try:
                    exchange.timed_out(cause)
                except Exception:  # of one request; the others have their time all the same
                    log.exception("a request could not be timed out", operation=exchange.route.id)

    def _sweep(self, now: float) -> None:
        gateway = self._gateway
        settings = gateway.settings
        for client in list(gateway.clients):
            client.check(now, settings.idle_timeout, settings.slow_timeout)
        for pool in gateway.upstreams.every_pool():
            pool.reap()
