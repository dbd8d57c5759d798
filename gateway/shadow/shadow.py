"""Sampled copies of reads, and dry runs of writes, go to the other side, and the two answers are compared.

The client's request knows nothing of it: its response is already on the way when a copy is made; copies have their own
connections; at most RUNNING are under way and WAITING wait, the rest is dropped and counted.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.control.table import RouteTable
from gateway.http1.head import Response
from gateway.http1.pool import Pool
from gateway.meter import Meter
from gateway.shadow.answer import Incomparable
from gateway.shadow.capture import Capture, Copy, copy_of, is_comparable_read, is_comparable_write
from gateway.shadow.case import Withdrawn
from gateway.shadow.fetch import FetchFailed, SideAway
from gateway.shadow.policy import policies_of
from gateway.shadow.referee import Referee

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange

RUNNING = 8
WAITING = 64
WAITING_BYTES = 8 * 1024 * 1024
# A side that is away gets few copies: after three failures in a row, none for so many seconds, twice as long each time.
PATIENT_WITH = 3
SHORTEST_REST = 0.2
LONGEST_REST = 2.0


class Shadow:
    def __init__(
        self,
        pools: Callable[[], Mapping[str, Pool]],
        meter: Meter,
        watermarks: Callable[[], Mapping[str, float]],
    ) -> None:
        """`pools`: its own, not the clients'. `watermarks`: stream → wall-clock seconds up to which all is across."""
        self._meter = meter
        self._waiting: deque[Copy] = deque()
        self._waiting_bytes = 0
        self._running: set[asyncio.Task[None]] = set()
        self._failures: dict[str, int] = {}  # of an upstream, in a row
        self._resting: dict[str, float] = {}  # upstream → until when, on the loop's clock
        self._policies = policies_of(RouteTable(0, {}))
        self.referee = Referee(pools, meter, watermarks)

    def take(self, table: RouteTable) -> None:
        self._policies = policies_of(table)
        for upstream in self._failures.keys() - table.upstreams.keys():
            self._failures.pop(upstream)
            self._resting.pop(upstream, None)
        self.referee.take(self._policies)

    def capture(self, exchange: Exchange, response: Response) -> Capture | None:
        """Where the answer is to be kept, if this request is one of the sample. Asked where a copy has a target."""
        route = exchange.route
        policy = self._policies.get(route.domain)
        if policy is None or self._is_full:
            return None
        if self._resting and self._resting.get(exchange.decision.shadow or "", 0.0) > exchange.gateway.now:
            return None
        share = policy.reads if exchange.read else policy.writes
        if share < 100 and random.random() * 100 >= share:  # noqa: S311
            return None
        known = policy.operations.get(route.id)
        if known is None or known.rules.skip:
            return None
        if exchange.read:
            return Capture(response) if is_comparable_read(exchange) else None
        if not policy.rehearsing or route.domain in self.referee.refusing:
            return None
        return Capture(response) if is_comparable_write(exchange, response) else None

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= WAITING or self._waiting_bytes >= WAITING_BYTES

    def offer(self, exchange: Exchange, capture: Capture) -> None:
        """The exchange is over."""
        if self._is_full:
            self.dropped(exchange.route.domain)
            return
        copy = copy_of(exchange, capture)
        if not copy.other_head:  # who calls is not known yet
            self.dropped(exchange.route.domain)
            return
        self._waiting.append(copy)
        self._waiting_bytes += copy.size
        if len(self._running) < RUNNING:
            task = asyncio.get_running_loop().create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def dropped(self, domain: str) -> None:
        self._meter.count(domain, "shadow_dropped")

    async def _work(self) -> None:
        while self._waiting:
            copy = self._waiting.popleft()
            self._waiting_bytes -= copy.size
            policy = self._policies.get(copy.domain)
            known = policy.operations.get(copy.operation) if policy is not None else None
            if policy is None or known is None:
                continue
            try:
                await self.referee.judge(copy, policy, known)
                self._failures.pop(copy.other, None)
            except SideAway:
                self.dropped(copy.domain)
                self._rest(copy.other)
            except Withdrawn:
                pass
            except (FetchFailed, KeyError, Incomparable):  # KeyError: the upstream has left the table
                self.dropped(copy.domain)

    def _rest(self, upstream: str) -> None:
        failures = self._failures[upstream] = self._failures.get(upstream, 0) + 1
        if failures >= PATIENT_WITH:
            seconds = min(LONGEST_REST, SHORTEST_REST * 2 ** min(failures - PATIENT_WITH, 8))
            self._resting[upstream] = asyncio.get_running_loop().time() + seconds

    def snapshot(self) -> dict[str, Any]:
        return self.referee.snapshot()

    async def stop(self) -> None:
        self._waiting.clear()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
