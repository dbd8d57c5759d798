"""This gateway, in the caller's event loop, in front of an origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from gateway.core import Gateway
from gateway.http1.downstream import Downstream
from gateway.policies.pins import PinBoard
from gateway.settings import Settings
from tests.conformance.origin import Origin
from tests.integration.gateway.stage import first_table


@asynccontextmanager
async def gateway_before(origin: Origin, **settings: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(
        replace(Settings(), log_sample=0, health_interval=60, **settings),
        first_table(origin.url, origin.url),
        PinBoard(),
        None,
    )
    clock = asyncio.create_task(gateway.run_clock())
    yield gateway
    clock.cancel()
    await gateway.close()


@asynccontextmanager
async def listening(origin: Origin, **settings: Any) -> AsyncIterator[int]:
    """Its port."""
    async with gateway_before(origin, **settings) as gateway:
        server = await asyncio.get_running_loop().create_server(lambda: Downstream(gateway), "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()
