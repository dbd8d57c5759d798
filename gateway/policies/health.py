"""Active health checks: each worker asks each server once a second, so that a dead side is known early."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gateway.http1.endpoint import Endpoint
from gateway.http1.pool import Pool

FAILURES_TO_DOWN = 2


async def answers(endpoint: Endpoint, path: str, within: float) -> bool:
    """Did the server answer its health path with 2xx in time?"""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, **endpoint.connect_options())
            writer.write(
                b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (path.encode(), endpoint.authority)
            )
            line = await reader.readline()
            return line.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2"))
    except (OSError, ValueError):
        return False
    finally:
        if writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()


async def watch(pool: Pool, interval: float, on_up: Callable[[], None]) -> None:
    """Keeps `endpoint.healthy` of every server of the pool; runs until cancelled."""
    failures = [0] * len(pool.endpoints)
    while True:
        verdicts = await asyncio.gather(*(answers(endpoint, pool.health, interval * 2) for endpoint in pool.endpoints))
        for index, well in enumerate(verdicts):
            was = pool.endpoints[index].healthy
            failures[index] = 0 if well else failures[index] + 1
            if well and not was:
                pool.on_health(index, healthy=True)
                on_up()
            elif was and failures[index] >= FAILURES_TO_DOWN:
                pool.on_health(index, healthy=False)
        await asyncio.sleep(interval)
