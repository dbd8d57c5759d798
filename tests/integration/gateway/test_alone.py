"""The gateway serves when nothing behind its control plane does: Redis killed under traffic, PostgreSQL never asked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import redis

from banyan.servers import Redis
from tests.integration.gateway.running import Start, first, ready
from tests.integration.gateway.stage import until
from tests.integration.gateway.upstream import Upstream


async def test_redis_is_killed_and_comes_back_under_traffic_and_no_request_notices(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    server = await asyncio.to_thread(Redis(tmp_path / "redis", tmp_path / "redis.log").start)
    gateway = starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_REDIS_URL=server.url, GATEWAY_LOG_SAMPLE="0")
    try:
        await ready(gateway)
        statuses: list[int] = []
        stop = asyncio.Event()

        async def traffic() -> None:
            async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as client:
                while not stop.is_set():
                    statuses.append((await client.get("/items")).status_code)
                    statuses.append((await client.post("/items", content=b"x")).status_code)

        asking = [asyncio.create_task(traffic()) for _ in range(4)]
        await until(lambda: len(statuses) > 100, within=20)
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        seen = len(statuses)
        await until(lambda: len(statuses) > seen + 200, within=20)
        # What an operator changes while Redis is away is live on this node.
        admin = gateway.admin()
        await asyncio.to_thread(admin.patch_domain, "shop", 1, "ann", "go", phase="service", owner="service")
        answer = await asyncio.to_thread(httpx.get, f"{gateway.url}/items")
        assert answer.headers["banyan-route"].startswith("domain=shop; side=service")
        server.process = None
        await asyncio.to_thread(server.start)

        async def is_published() -> bool:
            with redis.Redis.from_url(server.url) as client:
                return bool(await asyncio.to_thread(client.exists, "banyan:table"))

        await until(is_published, within=20)
        stop.set()
        await asyncio.gather(*asking)
        assert set(statuses) == {200}
    finally:
        if server.process is not None:
            server.process.kill()
            server.process.wait()


EVERY_MODULE = """
import importlib, pkgutil, sys
import gateway
for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
drivers = [name for name in sys.modules if name.split(".")[0] in ("psycopg", "psycopg2", "asyncpg", "pg8000")]
sys.exit(f"the gateway loads {drivers}" if drivers else 0)
"""


def test_no_part_of_the_gateway_can_wait_for_postgresql() -> None:
    """It knows no driver and no DSN: owners and watermarks reach it over the admin API and Redis."""
    ended = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
