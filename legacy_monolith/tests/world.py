"""Makes what a black-box test needs through the API itself: unique names, and patience where a row crosses domains."""

from __future__ import annotations

import os
import secrets
import ssl
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import httpx

#: How long a row may need to come through to the side that answers.
PATIENCE_S = 10.0

FIXED_RATES = [
    {"hour_from": 0, "hour_to": 7, "price_kwh": "0.20000"},
    {"hour_from": 7, "hour_to": 23, "price_kwh": "0.30000"},
    {"hour_from": 23, "hour_to": 24, "price_kwh": "0.20000"},
]


def unique(prefix: str = "t") -> str:
    return f"{prefix}-{secrets.token_hex(5)}"


def area() -> str:
    """A market area of this test alone."""
    return f"T{secrets.token_hex(3)}"


def eventually(attempt: Callable[[], httpx.Response], status: int, waiting: int = 404) -> httpx.Response:
    """The first answer that is not `waiting` (what it needs has not come through yet); it must have `status`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        response = attempt()
        if response.status_code != waiting or time.monotonic() > deadline:
            assert response.status_code == status, response.text
            return response
        time.sleep(0.05)


class Customer:
    """A customer; `client` is logged in, when it is first asked for: checking a password is slow, as it should be."""

    def __init__(self, customer_id: int, email: str, password: str, log_in: Callable[[str, str], httpx.Client]) -> None:
        self.id, self.email, self.password, self._log_in = customer_id, email, password, log_in

    @cached_property
    def client(self) -> httpx.Client:
        return self._log_in(self.email, self.password)


class World:
    def __init__(self, backoffice: httpx.Client) -> None:
        self._backoffice = backoffice
        self._clients: list[httpx.Client] = []
        self._tls = ssl.create_default_context()  # reads a list of authorities: once for all clients

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def new_client(self, **headers: str) -> httpx.Client:
        client = httpx.Client(base_url=self._backoffice.base_url, timeout=15, headers=headers, verify=self._tls)
        self._clients.append(client)
        return client

    def customer(self) -> Customer:
        """A new customer."""
        email, password = f"{unique()}@example.net", secrets.token_urlsafe(9)
        made = self._backoffice.post("/api/customers", json={"email": email, "name": "Test", "password": password})
        assert made.status_code == 201, made.text
        return Customer(made.json()["id"], email, password, self._log_in)

    def known_customer(self) -> Customer:
        """The customer that the environment names, else a new one."""
        email = os.environ.get("CHARACTERIZATION_CUSTOMER_EMAIL")
        password = os.environ.get("CHARACTERIZATION_CUSTOMER_PASSWORD")
        if not email or not password:
            return self.customer()
        answer = self.new_client().post("/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return Customer(answer.json()["customer_id"], email, password, self._log_in)

    def _log_in(self, email: str, password: str) -> httpx.Client:
        client = self.new_client()
        answer = client.post("/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return client

    def tariff(self, **changes: Any) -> dict[str, Any]:
        """A new fixed tariff unless told otherwise."""
        wanted = {
            "code": unique("T"),
            "name": "Test tariff",
            "kind": "F",
            "standing_cents": 25,
            "vat_pct": "21.00",
            "valid_from": "2024-01-01T00:00:00",
            "rates": FIXED_RATES,
            **changes,
        }
        made = self._backoffice.post("/api/tariffs", json=wanted)
        assert made.status_code == 201, made.text
        return made.json()

    def device(self, customer_id: int, **changes: Any) -> dict[str, Any]:
        """A new device with its token; `customer_id` may have to cross to the devices' side first."""
        wanted = {
            "serial": unique("BAT"),
            "customer_id": customer_id,
            "model": "Powerbox 5",
            "capacity_wh": 10_000,
            "max_power_w": 5_000,
            **changes,
        }
        return eventually(lambda: self._backoffice.post("/api/devices", json=wanted), 201).json()
