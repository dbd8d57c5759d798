"""The servers behind a worker: a pool per upstream of the table, the pools of the copies, and the health checks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from gateway.control.table import RouteTable, Upstream
from gateway.http1.endpoint import PoolLimits
from gateway.http1.pool import Pool
from gateway.policies.health import watch
from gateway.policies.shedding import Limiter
from gateway.tls import Secure, Watched, upstream_tls

SHADOW_LIMITS = PoolLimits(connections=8, waiting=16)


class Upstreams:
    """`on_up`: told the name of an upstream when one of its servers answers its health path again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float, on_up: Callable[[str], None]) -> None:
        self._loop = loop
        self._interval = interval
        self._on_up = on_up
        self.pools: dict[str, Pool] = {}
        self.shadow_pools: dict[str, Pool] = {}
        self._known: dict[str, Upstream] = {}
        self.tls: dict[str, Watched] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}

    def take(self, table: RouteTable) -> None:
        """What the table says as before is kept, with its connections."""
        for name, upstream in table.upstreams.items():
            if self._known.get(name) == upstream:
                continue
            self._forget(name)
            self._known[name] = upstream
            secure = self._secured(name, upstream)
            limits = PoolLimits(upstream.connections, upstream.waiting, upstream.connect_timeout)
            shedding = upstream.shedding
            self.pools[name] = Pool(
                upstream.urls,
                upstream.health,
                limits,
                self._loop.time,
                secure,
                outliers=upstream.outliers,
                limiter=None if shedding is None else Limiter(shedding, self._loop.time),
            )
            self.shadow_pools[name] = Pool(upstream.urls, upstream.health, SHADOW_LIMITS, self._loop.time, secure)
            self._watches[name] = self._loop.create_task(
                watch(self.pools[name], self._interval, lambda name=name: self._on_up(name))  # type: ignore[misc]
            )
        for name in self.pools.keys() - table.upstreams.keys():
            self._forget(name)

    def _secured(self, name: str, upstream: Upstream) -> Secure | None:
        watched = upstream_tls(name, upstream)
        if watched is None:
            return None
        self.tls[name] = watched
        return Secure(watched, upstream.server_name)

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self.tls.pop(name, None)
        for pools in (self.pools, self.shadow_pools):
            pool = pools.pop(name, None)
            if pool is not None:
                pool.close()
        task = self._watches.pop(name, None)
        if task is not None:
            task.cancel()

    def every_pool(self) -> Iterator[Pool]:
        yield from self.pools.values()
        yield from self.shadow_pools.values()

    async def stop_watching(self) -> None:
        for task in self._watches.values():
            task.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)

    def close(self) -> None:
        for pool in self.every_pool():
            pool.close()
