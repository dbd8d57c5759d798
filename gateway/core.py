"""The heart of a worker: the table in force and everything its exchanges share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from gateway.accesslog import AccessLog
from gateway.auth import bridge_for
from gateway.clock import Clock
from gateway.control.table import RouteTable
from gateway.facade.front import Front
from gateway.http1.downstream import Downstream
from gateway.limits.limiter import Limiter
from gateway.meter import Meter
from gateway.policies.breakers import Breakers
from gateway.policies.hold import HoldRoom
from gateway.policies.holds import Holds
from gateway.policies.owners import Owners
from gateway.policies.pins import PinBoard
from gateway.policies.sharing import PinPost
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.shadow.shadow import Shadow
from gateway.upstreams import Upstreams

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange
    from gateway.telemetry.tracer import Tracer

LAST_WORD_SECONDS = 1.0  # that an idle connection is kept when the gateway ends


class Observer(Protocol):
    """Is told of every exchange that is over."""

    def finished(self, exchange: Exchange, seconds: float) -> None: ...


class Gateway:
    def __init__(
        self,
        settings: Settings,
        table: RouteTable,
        board: PinBoard,
        log: AccessLog | None,
        owners: Owners | None = None,
    ) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.patience = settings.patience
        self.replay_bytes = settings.replay_bytes
        self.max_body = settings.max_body
        self.log = log
        self.tracer: Tracer | None = None
        self.observers: tuple[Observer, ...] = ()  # none: most of the time nobody looks
        self.board = board
        self.owners = owners or Owners(alone=not settings.shares_pins)
        self.owners.take(table)
        self.override_key = settings.override_key
        self.sharing: PinPost | None = None  # with several nodes
        self.meter = Meter()
        self.room = HoldRoom(perf_counter, self.loop.call_later)
        self.active: set[Exchange] = set()
        self.clients: set[Downstream] = set()
        self.draining = False
        self.breakers = Breakers(settings.breaker_failures, settings.breaker_reset, self.meter)
        self.breaker = self.breakers.get
        self.upstreams = Upstreams(self.loop, settings.health_interval, self.breakers.recovered)
        self.pools = self.upstreams.pools
        self._ids = secrets.token_hex(6).encode()
        self._last_id = 0
        self.shadow = Shadow(lambda: self.upstreams.shadow_pools, self.meter, lambda: self.board.watermarks)
        self.router = Router(table)
        self.holds = Holds(settings.hold_seconds, perf_counter)
        self.holds.take(table)
        self.upstreams.take(table)
        self.shadow.take(table)
        self.breakers.take(table, self.pools)
        self.limiter = Limiter(settings.redis_url, self.meter, self.loop)
        self.front = Front(table)
        self.bridge = bridge_for(table, self, None)

    # the table

    def swap(self, table: RouteTable) -> bool:
        """Route by this table from the next request on. False: what we have is newer."""
        if table.version < self.router.version:
            return False
        router = Router(table)
        self.upstreams.take(table)
        self.breakers.take(table, self.pools)
        self.owners.take(table)
        self.router = router
        self.shadow.take(table)
        self.front = Front(table)
        self.bridge = bridge_for(table, self, self.bridge)
        self.holds.take(table)
        self.room.wake_all()
        return True

    # for exchanges

    def new_request_id(self) -> bytes:
        self._last_id += 1
        return b"%b-%08x" % (self._ids, self._last_id)

    def authority(self, upstream: str) -> bytes:
        return self.pools[upstream].endpoints[0].authority

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

    def last_write(self, exchange: Exchange, owner: str) -> float:
        if self.board.quiet():
            return 0.0
        route = exchange.route
        identities = route.identities_of(exchange.request, exchange.values)
        return self.board.last_write(route.domain, owner, identities)

    # for those who look on

    def trace_with(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.observe(tracer)  # the first of them: the others may tell its trace ids

    def observe(self, observer: Observer) -> None:
        if observer not in self.observers:
            self.observers += (observer,)

    def unobserve(self, observer: Observer) -> None:
        self.observers = tuple(other for other in self.observers if other is not observer)

    # time

    async def run_clock(self) -> None:
        await Clock(self).run()

    async def drain(self, at_least: float = 0.0) -> None:
        """Let what is under way finish, for `at_least` some seconds. Idle connections are closed after a moment: the
        client may be sending its next request right now, and its answer tells it to connect anew.
        """
        self.draining = True
        began = self.loop.time()
        while (self.clients or self.loop.time() < began + at_least) and (
            self.loop.time() < began + self.settings.drain_seconds
        ):
            for client in list(self.clients):
                client.check(self.loop.time(), LAST_WORD_SECONDS, self.settings.slow_timeout)
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self.upstreams.stop_watching()
        await self.limiter.close()
        if self.bridge is not None:
            self.bridge.close()
        await self.shadow.stop()
        self.upstreams.close()
        if self.log is not None:
            self.log.close()
        if self.tracer is not None:
            await self.tracer.close()

    def snapshot(self) -> dict[str, Any]:
        """Everything the admin process wants to know of this worker."""
        return {
            **self.meter.snapshot(),
            "shadow": self.shadow.snapshot(),
            **self.breakers.snapshot(),
            "pools": {name: pool.snapshot() for name, pool in self.pools.items()},
            "health": {name: pool.healthy for name, pool in self.pools.items()},
            "version": self.router.version,
            "connections": len(self.clients),
            "active": len(self.active),
            "held_now": len(self.room),
            "observers": len(self.observers),
            "spans": None if self.tracer is None else self.tracer.figures(),
        }

    def take_watermarks(self, watermarks: Mapping[str, float]) -> None:
        self.board.take_watermarks(watermarks)
