"""The agent against the real monolith and the real device service."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from banyan.servers import Postgres
from tests.integration.pi_agent.process import Make, until
from tests.integration.pi_agent.server import FakeServer
from tests.integration.services.processes import (
    BACK_OFFICE,
    migrated,
    monolith_database,
    running_monolith,
    running_service,
)

SLOTS = "0000-1200 C1000;1200-2400 D900"
pytestmark = pytest.mark.timeout(180)


def acks_of(client: httpx.Client, device_id: int) -> list[tuple[str, str]]:
    answer = client.get(f"/api/devices/{device_id}/acks", headers=BACK_OFFICE)
    assert answer.status_code == 200, answer.text
    return [(ack["ref"], ack["state"]) for ack in answer.json()["acks"]]


def test_the_monolith_gives_the_schedule_and_takes_the_acks(postgres: Postgres, agents: Make, tmp_path: Path) -> None:
    dsn = monolith_database(postgres)
    with running_monolith(dsn, tmp_path / "monolith.log") as url, httpx.Client(base_url=url, timeout=10) as client:
        with psycopg.connect(dsn) as connection:
            customer = _insert(connection, "customer", {
                "email": "a@example.com", "name": "A", "status": "A", "password_hash": "-",
                "created": datetime(2026, 1, 1), "updated": datetime(2026, 1, 1),
            })  # fmt: skip
        body = {"serial": "B-1", "customer_id": customer, "model": "M", "capacity_wh": 10000, "max_power_w": 5000}
        device = client.post("/api/devices", json=body, headers=BACK_OFFICE).json()
        put = client.put(f"/api/devices/{device['id']}/schedule", json={"slots": SLOTS}, headers=BACK_OFFICE)
        assert put.status_code == 200, put.text
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "INSERT INTO battery_command (device_id, ref, mode, power_w, status, issued, expires)"
                " VALUES (%s, 'cmd-1', 'D', 500, 'Q', timezone('Europe/Amsterdam', now()),"
                " timezone('Europe/Amsterdam', now()) + interval '1 hour')",
                [device["id"]],
            )
        agent = agents(url, device_id=device["id"], token=device["token"]).start()
        wanted = {("schedule-v1", "D"), ("cmd-1", "D"), ("cmd-1", "S")}
        until(lambda: wanted <= set(acks_of(client, device["id"])), "the acks in the monolith")
        until(lambda: agent.status()["pending_acks"] == 0, "all settled")
        assert agent.end() == 0
        assert agent.status()["refused_acks"] == 0
        assert sorted(acks_of(client, device["id"])) == sorted(wanted), "each once"


def test_the_device_service_gives_the_schedule_and_takes_the_acks_when_the_flag_says_so(
    service_postgres: Postgres, agents: Make, tmp_path: Path
) -> None:
    dsn = migrated(service_postgres, "devices")
    flag_service = FakeServer(flag="v2").start()
    now = datetime.now(UTC)
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO customer_refs (id) VALUES (1)")
        device = {
            "id": 17, "serial": "B-1", "customer_id": 1, "model": "M", "capacity_wh": 10000, "max_power_w": 5000,
            "state": "active",
            "token_sha1": hashlib.sha1(b"device-secret").hexdigest(), "registered_at": now,
        }  # fmt: skip
        _insert(connection, "devices", device)
        _insert(connection, "commands", {
            "device_id": 17, "ref": "cmd-1", "mode": "discharge", "power_w": 500, "state": "queued", "issued_at": now,
            "expires_at": now + timedelta(hours=1),
        })  # fmt: skip
    try:
        with running_service("devices", dsn, tmp_path / "devices.log") as url, httpx.Client(base_url=url) as client:
            put = client.put("/api/devices/17/schedule", json={"slots": SLOTS}, headers=BACK_OFFICE)
            assert put.status_code == 200, put.text
            agent = agents(url, flag_service.url).start()
            until(lambda: agent.status().get("backend") == "v2" and agent.status()["last_contact"], "on v2")
            wanted = {("schedule-v1", "D"), ("cmd-1", "D"), ("cmd-1", "S")}
            until(lambda: wanted <= set(acks_of(client, 17)), "the acks in the service")
            until(lambda: agent.status()["pending_acks"] == 0, "all settled")
            assert agent.end() == 0
            assert agent.status()["refused_acks"] == 0
            assert sorted(acks_of(client, 17)) == sorted(wanted), "each once"
    finally:
        flag_service.stop()


def _insert(connection: psycopg.Connection[Any], table: str, values: dict[str, Any]) -> int:
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    row = connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING *", list(values.values())
    ).fetchone()
    assert row is not None
    return int(row[0])
