"""A bad table is refused whole, with every reason, from wherever it comes; the old one keeps serving."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest
import redis

from banyan.servers import Redis
from gateway.errors import AdminRefused, VersionConflict
from tests.integration.gateway.running import TOKEN, Running, Start, first, ready
from tests.integration.gateway.stage import first_table, until
from tests.integration.gateway.upstream import Upstream

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Banyan-Actor": "ann", "If-Match": '"1"'}


async def version_in_force(gateway: Running) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{gateway.url}/items", timeout=10)
    assert answer.status_code == 200
    return answer.headers["banyan-route"].rpartition("version=")[2]


async def test_a_bad_table_is_refused_with_every_reason_by_the_admin_api_and_from_redis(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    server = Redis(folder=tmp_path / "redis", log=tmp_path / "redis.log").start()
    try:
        gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_REDIS_URL=server.url))
        good = msgspec.to_builtins(first_table(sides[0].url, sides[1].url))
        admin = f"http://{gateway.addresses['admin']}/v1/table"

        async def put(document: object) -> httpx.Response:
            async with httpx.AsyncClient() as client:
                return await client.put(admin, content=msgspec.json.encode(document), headers=HEADERS, timeout=10)

        wave = good["domains"]["shop"]["waves"][0]
        typo = await put({**good, "upstreamz": {}})
        assert (typo.status_code, "unknown field `upstreamz`" in typo.text) == (422, True)
        deep = await put({**good, "domains": {"shop": {**good["domains"]["shop"], "waves": [{**wave, "canary": 5}]}}})
        assert (deep.status_code, "unknown field `canary`" in deep.text) == (422, True)
        shop = {"service": "nobody", "waves": [{**wave, "canary_percent": 400, "bucket_to": 5}]}
        several = await put({**good, "domains": {"shop": shop}})
        assert several.status_code == 422
        reasons = "; ".join(several.json()["reasons"])
        for reason in ("unknown upstream 'nobody'", "canary_percent 400", "they end at bucket 5"):
            assert reason in reasons
        assert await version_in_force(gateway) == "1"

        with redis.Redis.from_url(server.url) as client:
            broken = msgspec.json.encode({**good, "version": 52, "domains": {"shop": shop}})
            for version, text in ((50, b'{"version":50,"upstreamz":{}}'), (51, b"{half"), (52, broken)):
                client.hset("banyan:table", mapping={"version": version, "table": text})
                client.publish("banyan:table", version)

            async def knows_of_it() -> bool:
                with pytest.raises((AdminRefused, VersionConflict)) as refused:
                    await asyncio.to_thread(gateway.admin().patch_domain, "shop", 1, "ann", "go", hold=True)
                return "redis holds version 52, which this node refused" in str(refused.value)

            await until(knows_of_it, within=10)
            assert await version_in_force(gateway) == "1"
            client.delete("banyan:table")
        applied = await asyncio.to_thread(gateway.admin().patch_domain, "shop", 1, "ann", "go", phase="shadow")
        assert applied.everywhere
        assert await version_in_force(gateway) == "2"
    finally:
        server.stop()


async def test_a_bad_file_beside_a_good_last_table_stops_nothing(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides)))
    await asyncio.to_thread(gateway.admin().patch_domain, "shop", 1, "ann", "go", phase="shadow")
    assert await asyncio.to_thread(gateway.stop) == 0
    bad = tmp_path / "bad.json"
    bad.write_text('{"version":9,"upstreamz":{}}')
    again = await ready(starting(GATEWAY_TABLE=str(bad)))
    assert await version_in_force(again) == "2"
