"""A fleet's service for tests: devices registered, schedules published, commands issued, in few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from banyan.servers import Postgres
from tests.integration.services.conftest import Client
from tests.integration.services.processes import BACK_OFFICE, migrated

DAY = [{"from": "00:00", "to": "02:00", "mode": "charge", "power_w": 2500}]


def database(server: Postgres) -> str:
    """With one customer."""
    made = migrated(server, "devices")
    with psycopg.connect(made) as connection:
        connection.execute("INSERT INTO customer_refs (id) VALUES (1)")
    return made


@dataclass
class Battery:
    """A device, its token, and the client that it calls with."""

    client: Client | httpx.AsyncClient
    id: int
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **request: Any
    ) -> httpx.Response:
        return await self.client.request(
            method, f"/v2/devices/{self.id}{path}", headers=self.bearer | (headers or {}), **request
        )

    async def document(self, **headers: str) -> httpx.Response:
        return await self.ask("GET", "/schedule", headers)

    async def ack(self, ref: str, *states: str, **headers: str) -> httpx.Response:
        acks = [{"ref": ref, "state": state, "observed_at": "2024-07-01T10:00:00Z"} for state in states]
        return await self.ask("POST", "/acks", headers, json={"acks": acks})

    async def office(self, method: str, path: str, **request: Any) -> httpx.Response:
        """What the back office asks about it."""
        return await self.client.request(method, f"/v2/devices/{self.id}{path}", headers=BACK_OFFICE, **request)

    async def publish(self, slots: list[dict[str, Any]], **more: Any) -> httpx.Response:
        return await self.office("PUT", "/schedule", json={"slots": slots, **more})

    async def command(self, mode: str = "charge", power_w: int = 100, **more: Any) -> httpx.Response:
        body = {"mode": mode, "power_w": power_w, "duration_s": 600, **more}
        return await self.office("POST", "/commands", json=body)


async def register(client: Client | httpx.AsyncClient, serial: str = "B1") -> Battery:
    wanted = {"serial": serial, "customer_id": 1, "model": "P", "capacity_wh": 10_000, "max_power_w": 5000}
    made = await client.post("/api/devices", json=wanted, headers=BACK_OFFICE)
    assert made.status_code == 201, made.text
    return Battery(client, made.json()["id"], made.json()["token"])
