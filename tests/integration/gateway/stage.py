"""A gateway in the test's own event loop, real sockets on both of its sides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import msgspec
import pytest

from gateway import compiled
from gateway.control.figures import Totals
from gateway.control.scores import scores
from gateway.control.table import Domain as DomainTable
from gateway.control.table import Operation, RouteTable, Wave
from gateway.control.table import Upstream as UpstreamTable
from gateway.core import Gateway
from gateway.http1.downstream import Downstream
from gateway.policies.pins import PinBoard
from gateway.settings import Settings
from tests.integration.gateway.upstream import Upstream

OPERATIONS = [
    Operation("items.list", "GET", "/items", "read", ["header:x-client"]),
    Operation("items.get", "GET", "/items/{id}", "read", ["header:x-client"]),
    Operation("items.add", "POST", "/items", "write", ["header:x-client"]),
    Operation("items.put", "PUT", "/items/{id}", "write", ["header:x-client"]),
    Operation("items.load", "POST", "/bulk", "write", idempotent=True),
    Operation("items.order", "POST", "/orders", "write", idempotent="key"),
    Operation("labels.put", "PUT", "/shelves/{id}/label", "write", ["header:x-client", "path:id"]),
    Operation("labels.get", "GET", "/labels/{shelf}", "read", ["path:shelf"]),
    Operation("v2.items", "GET", "/v2/items", "read", native=True),
]

#: For a test that puts something of its own in a class's place.
interpreted = pytest.mark.skipif(compiled.in_use(), reason="compiled classes take no doubles, and are not changed")


@dataclass
class Stage:
    """A gateway between two servers."""

    gateway: Gateway
    legacy: Upstream
    service: Upstream
    port: int
    client: httpx.AsyncClient

    def wave(self, shadow_percent: float = 0, domain: dict[str, Any] | None = None, **changes: Any) -> None:
        """Publish the next table; `domain`: what else it says of the domain."""
        table = self.gateway.router.table
        shop = table.domains["shop"]
        wave = msgspec.structs.replace(shop.waves[0], **changes)
        shop = msgspec.structs.replace(shop, waves=[wave], shadow_percent=shadow_percent, **(domain or {}))
        changed = msgspec.structs.replace(table, version=table.version + 1, domains={"shop": shop})
        assert self.gateway.swap(changed.validated())

    def wave_of(self, name: str, **changes: Any) -> None:
        """Publish the next table, with this change of one domain among several."""
        table = self.gateway.router.table
        domain = table.domains[name]
        domain = msgspec.structs.replace(domain, waves=[msgspec.structs.replace(domain.waves[0], **changes)])
        domains = {**table.domains, name: domain}
        assert self.gateway.swap(msgspec.structs.replace(table, version=table.version + 1, domains=domains).validated())

    def event(self, name: str) -> int:
        return self.gateway.meter.events.get(("shop", name), 0)

    async def raw(self, data: bytes, *, within: float = 5.0) -> bytes:
        """Send these bytes; everything that comes back until the gateway closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(within):
                return await reader.read()
        finally:
            writer.close()


def shadowed(stage: Stage) -> dict[str, Any]:
    """What was compared, as `GET /v1/shadow/shop` tells it."""
    totals = Totals()
    totals.add(stage.gateway.snapshot())
    return scores("shop", stage.gateway.router.table.domains["shop"], totals)


def side(answer: httpx.Response) -> str:
    return _route(answer)["side"]


def reason(answer: httpx.Response) -> str:
    return _route(answer)["reason"]


def _route(answer: httpx.Response) -> dict[str, str]:
    return dict(part.split("=") for part in answer.headers["banyan-route"].split("; "))


def first_table(legacy: str, service: str) -> RouteTable:
    return RouteTable(
        version=1,
        upstreams={"legacy": UpstreamTable([legacy]), "shop": UpstreamTable([service])},
        domains={"shop": DomainTable("shop", [Wave(0, 0, 1024)], OPERATIONS)},
    ).validated()


@asynccontextmanager
async def staged(**settings: Any) -> AsyncIterator[Stage]:
    legacy, service = await Upstream().start(), await Upstream().start()
    defaults = replace(Settings(), health_interval=0.1, breaker_reset=0.3, log_sample=0)
    gateway = Gateway(replace(defaults, **settings), first_table(legacy.url, service.url), PinBoard(), None)
    clock = asyncio.create_task(gateway.run_clock())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Downstream(gateway), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield Stage(gateway, legacy, service, port, client)
    server.close()
    clock.cancel()
    await gateway.close()
    await legacy.kill()
    await service.kill()


async def until(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], within: float = 5.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + within
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
