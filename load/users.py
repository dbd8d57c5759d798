"""Locust users: back-office clients of pricing, and battery agents in the monolith's contract."""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from locust import HttpUser, between, task

from load import calls
from load.calls import Call, Hour, Rate

PATIENCE_S = 30.0
_RETRIED = (502, 503, 504)


def send(client: Any, call: Call, headers: dict[str, str]) -> Any:
    """Make the call as a patient client does: an answer with Retry-After is waited for. Returns the last response.

    Locust's statistics have a line of their own for attempts that were told to wait.
    """
    began = time.monotonic()
    while True:
        with client.request(
            call.method,
            call.target,
            name=call.name,
            data=call.body or None,
            headers={**headers, **call.headers},
            catch_response=True,
        ) as response:
            pause = _pause(response)
            if pause is not None and time.monotonic() - began + pause < PATIENCE_S:
                response.request_meta["name"] = f"{call.name} (told to wait)"
                response.success()
            elif response.status_code in call.expect:
                response.success()
                return response
            else:
                response.failure(f"{response.status_code}: {response.text[:200]}")
                return response
        time.sleep(pause)


def _pause(response: Any) -> float | None:
    asked = response.headers.get("Retry-After", "") if response.status_code in _RETRIED else ""
    return float(asked) if asked.replace(".", "", 1).isdigit() else None


class PricingClient(HttpUser):
    """70 % reads, 30 % writes; area and tariff are its own."""

    wait_time = between(0.05, 0.25)
    weight = 8

    def on_start(self) -> None:
        number = secrets.token_hex(3)
        self.area, self.tariff = f"L{number}", f"T{number}"
        self.headers = {"X-Client-Id": number, "X-Api-Key": os.environ.get("LEGACY_BACKOFFICE_KEY", "")}
        answer = self.client.get("/api/customers?limit=100", name="GET /api/customers", headers=self.headers)
        customers = [one["id"] for one in answer.json()["customers"]] if answer.ok else []
        self.customer = random.choice(customers) if customers else 1
        self.quotes: list[int] = []
        send(self.client, calls.create_tariff(self.tariff, _rates()), self.headers)

    @task(35)
    def prices_of_a_day(self) -> None:
        month, day = random.randrange(1, 13), random.randrange(1, 28)
        call = calls.list_prices("NL", f"2023-{month:02d}-{day:02d}", f"2023-{month:02d}-{day + 1:02d}")
        send(self.client, call, self.headers)

    @task(20)
    def tariffs(self) -> None:
        send(self.client, calls.list_tariffs(), self.headers)

    @task(15)
    def own_quote(self) -> None:
        if self.quotes:
            send(self.client, calls.get_quote(random.choice(self.quotes)), self.headers)

    @task(18)
    def create_quote(self) -> None:
        call = calls.create_quote(secrets.token_hex(12), self.tariff, f"{random.randrange(1, 5000)}.5", self.customer)
        answer = send(self.client, call, self.headers)
        if answer.ok and len(self.quotes) < 100:
            self.quotes.append(json.loads(answer.text)["id"])

    @task(8)
    def load_prices(self) -> None:
        first, day = random.randrange(20), random.randrange(1, 29)
        rows = [
            (Hour(f"2024-09-{day:02d}T{hour:02d}:00:00"), f"{random.randrange(-20000, 60000) / 100:.2f}")
            for hour in range(first, first + 4)
        ]
        send(self.client, calls.load_prices(self.area, rows), self.headers)

    @task(4)
    def rates(self) -> None:
        send(self.client, calls.put_rates(self.tariff, _rates()), self.headers)


class DeviceAgent(HttpUser):
    """Polls its schedule and acknowledges; its token comes from the file that `LOAD_DEVICE_TOKENS` names."""

    wait_time = between(0.5, 1.5)
    weight = 2

    def on_start(self) -> None:
        tokens = device_tokens()
        if not tokens:
            self.device, self.headers = 1, {"X-Api-Key": os.environ.get("LEGACY_BACKOFFICE_KEY", "")}
            self.may_acknowledge = False  # an ack is the device's own word
            return
        device, token = random.choice(list(tokens.items()))
        self.device, self.headers, self.may_acknowledge = int(device), {"X-Device-Token": token}, True

    @task(4)
    def schedule(self) -> None:
        send(self.client, calls.get_schedule(self.device), self.headers)

    @task(1)
    def acknowledge(self) -> None:
        if self.may_acknowledge:
            now = datetime.now(ZoneInfo("Europe/Amsterdam")).replace(tzinfo=None, microsecond=0).isoformat()
            call = calls.create_ack(self.device, f"load-{secrets.token_hex(6)}", "S", now)
            send(self.client, call, self.headers)


def device_tokens() -> dict[str, str]:
    """{device id: token}; none without the variable."""
    named = os.environ.get("LOAD_DEVICE_TOKENS")
    return json.loads(Path(named).read_text()) if named else {}


def _rates() -> list[Rate]:
    cut = random.randrange(1, 24)
    return [Rate(0, cut, f"0.{random.randrange(10000, 50000)}"), Rate(cut, 24, f"0.{random.randrange(10000, 50000)}")]
