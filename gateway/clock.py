"""The tick of a worker: the grain of its `now` and of every time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import structlog

from gateway.http1.overdue import overdue

if TYPE_CHECKING:
    from gateway.core import Gateway
    from gateway.http1.downstream import Downstream
    from gateway.http1.exchange import Exchange

TICK = 0.1  # seconds
TICKS_PER_SWEEP = 5  # connections are looked at less often than requests
PIECE_SECONDS = 0.0002  # of looking, before others have their turn
PIECE_ENDED = 2  # the same, in connections that it was the end of

T = TypeVar("T")

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
                await self._tick()
            except Exception:
                log.exception("a tick of the clock failed")

    async def _tick(self) -> None:
        gateway = self._gateway
        now = gateway.now = gateway.loop.time()
        if gateway.log is not None:
            gateway.log.flush()
        await self._in_pieces(list(gateway.active), lambda exchange: self._look_at_exchange(exchange, now))
        self._ticks += 1
        if self._ticks % TICKS_PER_SWEEP == 0:
            for pool in gateway.upstreams.every_pool():
                pool.reap()
            await self._in_pieces(list(gateway.clients), lambda client: self._look_at_client(client, now))

    def _look_at_exchange(self, exchange: Exchange, now: float) -> bool:
        if exchange.over or (cause := overdue(exchange, now)) is None:
            return False
        try:
            exchange.timed_out(cause)
        except Exception:  # of one request; the others have their time all the same
            log.exception("a request could not be timed out", operation=exchange.route.id)
        return True

    def _look_at_client(self, client: Downstream, now: float) -> bool:
        settings = self._gateway.settings
        if client not in self._gateway.clients:
            return False
        try:
            return client.check(now, settings.idle_timeout, settings.slow_timeout)
        except Exception:  # as above
            log.exception("a client's connection could not be looked at")
            return True

    async def _in_pieces(self, items: Sequence[T], look: Callable[[T], bool]) -> None:
        """Look at all of them, and let requests be served in between: to turn away a thousand slow clients at once
        would hold up everybody else. `look` says whether it ended something; most of that work is done by the kernel,
        later. With many to turn away it takes longer than a tick: those who are served have the time of now.
        """
        until, ended = perf_counter() + PIECE_SECONDS, 0
        for item in items:
            ended += look(item)
            if ended >= PIECE_ENDED or perf_counter() > until:
                await asyncio.sleep(0)
                self._gateway.now = self._gateway.loop.time()
                until, ended = perf_counter() + PIECE_SECONDS, 0
