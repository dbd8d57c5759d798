"""What was compared, as the admin API and `banyan differences` tell it, added up over a running gateway's workers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control.client import AdminClient
from gateway.errors import AdminRefused
from tests.fixtures import forked
from tests.integration.gateway.running import TOKEN, Running, Start, first, ready
from tests.integration.gateway.stage import until
from tests.integration.gateway.upstream import Upstream, answering

ROOT = Path(__file__).resolve().parents[3]
PLAN = """\
legacy: {database: old, upstream: legacy}
databases:
  old: {control: OLD_DSN, owner: OLD_DSN, capture: OLD_DSN}
  new: {control: NEW_DSN, owner: NEW_DSN, capture: NEW_DSN}
upstreams:
  legacy: {url: OLD_URL, health: /health}
  shop: {url: NEW_URL, health: /health}
domains:
  shop:
    upstream: shop
    database: new
    mapping: shop.yaml
    operations: [{id: items.list, method: GET, path: /items, kind: read}]
"""
MAPPING = """\
domain: shop
tables:
  - {legacy: public.item, service: public.items, key: {legacy: [id], service: [id]}, columns: [id]}
"""


def banyan(folder: Path, gateway: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "shop.yaml").write_text(MAPPING)
    environment = {
        "PATH": os.environ["PATH"], "BANYAN_HOME": str(folder), "BANYAN_PLAN": str(folder / "plan.yaml"),
        "BANYAN_ACTOR": "ann", "GATEWAY_ADMIN_TOKEN": TOKEN,
        "BANYAN_GATEWAY_ADMIN_URL": f"http://{gateway.addresses['admin']}",
    }  # fmt: skip
    return forked.run("banyan.cli", "differences", *arguments, env=environment)


async def read_often(gateway: Running, admin: AdminClient, count: int) -> dict[str, Any]:
    """Reads over many connections, so that both workers get some."""
    for _ in range(count):
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            assert (await client.get("/items?token=abc")).status_code == 200

    async def all_compared() -> bool:
        return bool((await asyncio.to_thread(admin.shadow, "shop"))["compared"] >= count)

    await until(all_compared, within=20)
    return await asyncio.to_thread(admin.shadow, "shop")


async def test_differences_are_told_by_field_with_both_answers_and_counted_anew_when_asked(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    legacy, service = sides
    legacy.handler = answering(body=b'{"price":1,"password":"l3gacy"}')
    service.handler = answering(body=b'{"price":2,"password":"s3rvice"}')
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_WORKERS="2"))
    with gateway.admin() as admin:
        await asyncio.to_thread(admin.patch_domain, "shop", 1, "ann", "go", phase="shadow", shadow_percent=100)
        found = await read_often(gateway, admin, 12)
        assert (found["compared"], found["mismatched"]) == (12, 12)
        verdicts = {field["field"]: (field["raw"], field["verdict"]) for field in found["fields"]}
        assert verdicts == {"$.price": (12, "regression"), "$.password": (12, "regression")}
        sample = found["samples"][0]
        assert sample["target"] == "/items?token=(hidden)"
        assert json.loads(sample["service"]["body"]) == {"price": 2, "password": "(hidden)"}
        assert "l3gacy" not in str(found)
        regressed = (await asyncio.to_thread(admin.status))["domains"]["shop"]["shadow"]
        assert {field["field"] for field in regressed["regressions"]} == {"$.price", "$.password"}

        shown = await asyncio.to_thread(banyan, tmp_path, gateway, "shop", "--samples", "1")
        assert shown.returncode == 0, shown.stderr
        assert "items.list" in shown.stdout
        assert "12 of 12" in shown.stdout
        assert "regression" in shown.stdout
        assert "$.price: legacy 1, service 2" in shown.stdout
        plain = await asyncio.to_thread(banyan, tmp_path, gateway, "shop", "--json")
        assert json.loads(plain.stdout)["mismatched"] == 12

        service.handler = legacy.handler
        again = await asyncio.to_thread(banyan, tmp_path, gateway, "shop", "--reset", "--reason", "repaired", "--json")
        assert again.returncode == 0, again.stderr
        told = await asyncio.to_thread(admin.shadow, "shop")
        assert (told["compared"], told["fields"]) == (0, [])
        assert (await asyncio.to_thread(admin.audit))[-1]["reason"] == "repaired"
        told = await read_often(gateway, admin, 2)
        assert (told["compared"], told["mismatched"], told["fields"]) == (2, 0, [])
        with pytest.raises(AdminRefused, match="unknown domain 'shoes'"):
            await asyncio.to_thread(admin.shadow, "shoes")
    gone = await asyncio.to_thread(banyan, tmp_path, gateway, "shoes")
    assert (gone.returncode != 0, "no domain 'shoes' in the plan; it has: shop" in gone.stderr) == (True, True)
    assert await asyncio.to_thread(gateway.stop) == 0
    away = await asyncio.to_thread(banyan, tmp_path, gateway, "shop")
    assert away.returncode != 0
    assert away.stderr.startswith("error: the gateway's admin API at")
