"""The admin API of a running gateway: who may, which version, and that a change is live everywhere at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

import httpx
import pytest

from gateway.control.client import AdminClient
from gateway.errors import AdminRefused, AdminUnauthorized, VersionConflict
from tests.integration.gateway.running import TOKEN, Start, first, ready
from tests.integration.gateway.stage import first_table
from tests.integration.gateway.upstream import Upstream


async def test_a_change_is_live_on_all_workers_when_the_answer_comes(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_WORKERS="2"))
    admin = gateway.admin()

    def journey() -> None:
        applied = admin.patch_domain("shop", 1, "ann", "try it", phase="service", owner="service", epoch=1)
        assert (applied.version, applied.applied, applied.total) == (2, 2, 2)
        for _ in range(10):
            with httpx.Client(base_url=gateway.url) as client:  # a new connection each time: both workers get some
                assert "side=service; reason=phase; version=2" in client.get("/items").headers["banyan-route"]
        with pytest.raises(VersionConflict) as conflict:
            admin.patch_domain("shop", 1, "bob", "too late", hold=True)
        assert conflict.value.current == 2
        with pytest.raises(AdminRefused, match="canary_percent 400"):
            admin.patch_domain("shop", 2, "bob", "typo", canary_percent=400)
        with pytest.raises(AdminRefused, match="canarry"):
            admin.patch_domain("shop", 2, "bob", "typo", phase="canarry")
        with pytest.raises(AdminRefused, match="unknown domain 'shoes'"):
            admin.patch_domain("shoes", 2, "bob", "typo", hold=True)
        assert admin.table().version == 2, "what was refused has changed nothing"
        applied = admin.put_table(first_table(sides[0].url, sides[1].url), 2, "ann", "back")
        assert (applied.version, admin.table().domains["shop"].waves[0].phase) == (3, "legacy")
        entries = admin.audit()
        assert [(entry["actor"], entry["reason"]) for entry in entries] == [("ann", "try it"), ("ann", "back")]
        assert entries[0]["after"]["domains"]["shop"]["waves"][0]["owner"] == "service"
        deadline = monotonic() + 10
        while (told := admin.status())["domains"]["shop"]["requests"]["service"]["total"] != 10:
            assert monotonic() < deadline, "figures are a moment old, not older"
        assert (told["version"], told["workers"]) == (3, 2)
        assert told["domains"]["shop"]["breakers"] == {"legacy": "closed", "service": "closed"}
        figures = admin.figures()
        assert figures["domains"] == told["domains"]
        [cell] = [cell for cell in figures["cells"] if (cell["domain"], cell["side"]) == ("shop", "service")]
        assert (cell["operation"], sum(cell["classes"]), sum(cell["histogram"])) == ("items.list", 10, 10)
        assert (figures["node"], len(cell["histogram"])) == (admin.figures()["node"], len(figures["bounds"]) + 1)
        metrics = httpx.get(f"http://{gateway.addresses['admin']}/metrics").text
        line = 'banyan_gateway_requests_total{domain="shop",operation="items.list",outcome="2xx",side="service"} 10.0'
        assert line in metrics

    await asyncio.to_thread(journey)
    assert await asyncio.to_thread(gateway.stop) == 0


async def test_the_admin_api_is_closed_to_strangers(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides)))
    url = f"http://{gateway.addresses['admin']}"

    def knock() -> None:
        with pytest.raises(AdminUnauthorized):
            AdminClient(url, "a-wrong-token-for-tests").table()
        assert httpx.get(f"{url}/v1/status").headers["content-type"] == "application/problem+json"
        token = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.patch(f"{url}/v1/domains/shop", headers=token, json={}).status_code == 400, "who?"
        actor = token | {"Banyan-Actor": "ann"}
        assert httpx.patch(f"{url}/v1/domains/shop", headers=actor, json={}).status_code == 428, "which version?"
        bad = httpx.put(f"{url}/v1/table", headers=actor | {"If-Match": '"1"'}, content=b"{not json")
        assert (bad.status_code, bad.headers["content-type"]) == (422, "application/problem+json")

    await asyncio.to_thread(knock)
