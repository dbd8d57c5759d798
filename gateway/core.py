"""The heart of a worker: the table in force and everything its exchanges share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gateway.accesslog import AccessLog
from gateway.control.table import RouteTable
from gateway.http1.downstream import Downstream
from gateway.http1.pool import Pool, PoolLimits
from gateway.meter import Meter
from gateway.policies.breaker import Breaker
from gateway.policies.budget import RetryBudget
from gateway.policies.health import watch
from gateway.policies.hold import HoldRoom
from gateway.policies.holds import Holds
from gateway.policies.pins import PinBoard
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.shadow.shadow import Copy, Shadow

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange

TICK = 0.1  # seconds; the grain of `now` and of every time limit
SHADOW_LIMITS = PoolLimits(connections=8, waiting=16)


class Gateway:
    def __init__(self, settings: Settings, table: RouteTable, board: PinBoard, log: AccessLog | None) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.patience = settings.patience
        self.replay_bytes = settings.replay_bytes
        self.max_body = settings.max_body
        self.log = log
        self.board = board
        self.meter = Meter()
        self.budget = RetryBudget()
        self.room = HoldRoom(perf_counter, self.loop.call_later)
        self.active: set[Exchange] = set()
        self.clients: set[Downstream] = set()
        self.draining = False
        self.pools: dict[str, Pool] = {}
        self._shadow_pools: dict[str, Pool] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._ids = secrets.token_hex(6).encode()
        self._last_id = 0
        self._ticks = 0
        self.shadow = Shadow(
            lambda: self._shadow_pools, self.meter, self._shadow_percent, lambda: self.board.watermarks
        )
        self.router = Router(table)
        self.holds = Holds(settings.hold_seconds, perf_counter)
        self.holds.take(table)
        self._take_upstreams(table)

    # the table

    def swap(self, table: RouteTable) -> bool:
        """Route by this table from the next request on. False: what we have is newer."""
        if table.version < self.router.version:
            return False
        router = Router(table)
        self._take_upstreams(table)
        self.router = router
        self.holds.take(table)
        self.room.wake_all()
        return True

    def _take_upstreams(self, table: RouteTable) -> None:
        for name, upstream in table.upstreams.items():
            known = self.pools.get(name)
            if known is not None and known.urls == tuple(upstream.urls) and known.health == upstream.health:
                continue
            self._forget(name)
            self.pools[name] = Pool(upstream.urls, upstream.health, PoolLimits(), self.loop.time)
            self._shadow_pools[name] = Pool(upstream.urls, upstream.health, SHADOW_LIMITS, self.loop.time)
            self._watches[name] = self.loop.create_task(
                watch(self.pools[name], self.settings.health_interval, lambda name=name: self._is_up(name))  # type: ignore[misc]
            )
        for name in self.pools.keys() - table.upstreams.keys():
            self._forget(name)

    def _forget(self, name: str) -> None:
        for pools in (self.pools, self._shadow_pools):
            pool = pools.pop(name, None)
            if pool is not None:
                pool.close()
        task = self._watches.pop(name, None)
        if task is not None:
            task.cancel()

    def _shadow_percent(self, domain: str) -> float:
        found = self.router.table.domains.get(domain)
        return found.shadow_percent if found is not None else 0

    # for exchanges

    def new_request_id(self) -> bytes:
        self._last_id += 1
        return b"%b-%08x" % (self._ids, self._last_id)

    def authority(self, upstream: str) -> bytes:
        return self.pools[upstream].endpoints[0].authority

    def breaker(self, domain: str, side: str) -> Breaker:
        breaker = self._breakers.get((domain, side))
        if breaker is None:
            breaker = self._breakers[(domain, side)] = Breaker(
                domain,
                side,
                fail_max=self.settings.breaker_failures,
                reset_timeout=self.settings.breaker_reset,
                on_change=self._breaker_changed,
            )
        return breaker

    def usable(self, domain: str, upstream: str) -> bool:
        """May reads of this domain be sent to its service?"""
        breaker = self.breaker(domain, "service")
        return (breaker.closed or breaker.usable()) and self.pools[upstream].healthy

    def is_pinned(self, exchange: Exchange) -> bool:
        if self.board.quiet():
            return False
        route = exchange.route
        identities = route.identities_of(exchange.request, exchange.values)
        pinned = self.board.pinned(route.domain, exchange.slot.owner, identities)
        if pinned:
            self.meter.count(route.domain, "pinned")
        return pinned

    def last_write(self, exchange: Exchange) -> float:
        if self.board.quiet():
            return 0.0
        route = exchange.route
        identities = route.identities_of(exchange.request, exchange.values)
        return self.board.last_write(route.domain, exchange.slot.owner, identities)

    def pin(self, exchange: Exchange) -> None:
        route = exchange.route
        if route.is_read is False:
            self.board.record(route.domain, route.identities_of(exchange.request, exchange.values))

    def compare(self, exchange: Exchange) -> None:
        """Offer a finished read to the shadow."""
        decision = exchange.decision
        if decision.shadow is None or exchange.capture is None:
            return
        self.shadow.offer(
            Copy(
                domain=exchange.route.domain,
                operation=exchange.route.id,
                path=exchange.request.target.decode("latin-1"),
                head=exchange.head,
                primary=decision.upstream,
                other=decision.shadow,
                side=decision.side,
                status=exchange.status,
                body=b"".join(exchange.capture),
            )
        )

    def _breaker_changed(self, domain: str, side: str, state: str) -> None:
        if state == "open":
            self.meter.count(domain, "breaker_opened")

    def _is_up(self, upstream: str) -> None:
        for (domain, side), breaker in self._breakers.items():
            found = self.router.table.domains.get(domain)
            if upstream == ("legacy" if side == "legacy" or found is None else found.service):
                breaker.recovered()

    # time

    def tick(self) -> None:
        settings = self.settings
        now = self.now = self.loop.time()
        for exchange in list(self.active):
            patience = settings.tunnel_timeout if exchange.tunnel else settings.read_timeout
            late = perf_counter() - exchange.started > settings.total_timeout and not exchange.tunnel
            if (exchange.waits_for_upstream and now - exchange.touched > patience) or (late and not exchange.status):
                exchange.timed_out()
        self._ticks += 1
        if self._ticks % 5 == 0:
            for client in list(self.clients):
                client.check(now, settings.idle_timeout, settings.slow_timeout)
            for pool in (*self.pools.values(), *self._shadow_pools.values()):
                pool.reap()
            if self.log is not None:
                self.log.flush()

    async def run_clock(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.tick()

    async def drain(self) -> None:
        """Let what is under way finish; idle connections are closed."""
        self.draining = True
        deadline = self.loop.time() + self.settings.drain_seconds
        while self.clients and self.loop.time() < deadline:
            for client in list(self.clients):
                client.check(self.loop.time(), 0.0, self.settings.slow_timeout)
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        for task in self._watches.values():
            task.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        await self.shadow.stop()
        for pool in (*self.pools.values(), *self._shadow_pools.values()):
            pool.close()
        if self.log is not None:
            self.log.flush()

    def snapshot(self) -> dict[str, Any]:
        """Everything the admin process wants to know of this worker."""
        return {
            **self.meter.snapshot(),
            "shadow": self.shadow.snapshot(),
            "breakers": [{"domain": d, "side": s, "state": b.state} for (d, s), b in self._breakers.items()],
            "health": {name: pool.healthy for name, pool in self.pools.items()},
            "version": self.router.version,
            "connections": len(self.clients),
            "active": len(self.active),
            "held_now": len(self.room),
        }

    def take_watermarks(self, watermarks: Mapping[str, float]) -> None:
        self.board.watermarks = dict(watermarks)
