"""The newest table survives Redis, and travels over it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import redis

from banyan.servers import Redis
from banyan.servers.ports import free_port
from gateway.errors import VersionConflict
from tests.integration.gateway.running import Start, first, ready
from tests.integration.gateway.stage import until
from tests.integration.gateway.upstream import Upstream


async def test_the_gateway_starts_with_redis_down_from_the_last_known_good_table(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    dead_redis = f"redis://127.0.0.1:{free_port()}/0"
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_REDIS_URL=dead_redis))
    applied = await asyncio.to_thread(
        gateway.admin().patch_domain, "shop", 1, "ann", "go", phase="service", owner="service"
    )
    assert applied.everywhere
    assert await asyncio.to_thread(gateway.stop) == 0
    again = await ready(starting(GATEWAY_REDIS_URL=dead_redis))
    answer = await asyncio.to_thread(httpx.get, f"{again.url}/items")
    assert answer.headers["banyan-route"] == "domain=shop; side=service; reason=phase; version=2"


async def test_nodes_follow_each_other_over_redis(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start, redis_server: Redis
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.delete("banyan:table")
    table = first(tmp_path, sides)
    one = starting("one", GATEWAY_TABLE=table, GATEWAY_REDIS_URL=redis_server.url)
    other = starting("other", GATEWAY_TABLE=table, GATEWAY_REDIS_URL=redis_server.url)
    await ready(one)
    await ready(other)
    await asyncio.to_thread(one.admin().patch_domain, "shop", 1, "ann", "go", phase="service", owner="service")

    async def followed() -> bool:
        return (await asyncio.to_thread(httpx.get, f"{other.url}/items")).headers["banyan-route"].endswith("version=2")

    await until(followed)
    with pytest.raises(VersionConflict):
        await asyncio.to_thread(other.admin().patch_domain, "shop", 1, "bob", "late", hold=True)
