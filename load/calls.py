"""The calls that clients make against all domains, as plain values: the fleet and Locust send the same ones."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

MAX_POWER_W = 5_000  # of the batteries that are registered here


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `name` groups calls in reports; `expect` are the statuses that are an answer to it; without
    `repeatable` it is not sent again unless the gateway says that nobody got it (503 with Retry-After)."""

    name: str
    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    expect: frozenset[int] = frozenset({200})
    repeatable: bool = True

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass(frozen=True, slots=True, order=True)
class Hour:
    """An hour as the monolith writes it: local time, and which pass of a repeated hour it is."""

    ts: str
    flag: str = "N"


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """A band of hours of a tariff, half-open."""

    hour_from: int
    hour_to: int
    price_kwh: str


def list_tariffs() -> Call:
    return Call("GET /api/tariffs", "GET", "/api/tariffs")


def list_prices(area: str, day: str, until: str) -> Call:
    """The prices of the local days from `day` to before `until`."""
    return Call("GET /api/prices", "GET", "/api/prices?" + urlencode({"area": area, "from": day, "to": until}))


def get_quote(quote_id: int) -> Call:
    """404 is an answer too: the caller says whether it may be."""
    return Call("GET /api/quotes/{id}", "GET", f"/api/quotes/{quote_id}", expect=frozenset({200, 404}))


def create_quote(key: str, tariff_code: str, kwh: str, customer_id: int) -> Call:
    """201 the first time, 200 for the same key again."""
    body = {"tariff_code": tariff_code, "kwh": kwh, "customer_id": customer_id}
    return _json("POST /api/quotes", "POST", "/api/quotes", body, {200, 201}, {"Idempotency-Key": key})


def load_prices(area: str, prices: Sequence[tuple[Hour, str]]) -> Call:
    rows = [
        {"ts": hour.ts, "eur_mwh": value} | ({"hour_flag": hour.flag} if hour.flag != "N" else {})
        for hour, value in prices
    ]
    return _json("POST /api/prices", "POST", "/api/prices", {"area": area, "source": "load", "prices": rows}, {200})


def create_tariff(code: str, rates: Sequence[Rate]) -> Call:
    """A fixed tariff. 409 answers a repetition whose first answer was lost, and one that an earlier run has made."""
    body = {
        "code": code,
        "name": f"Client tariff {code}",
        "kind": "F",
        "standing_cents": 25,
        "vat_pct": "21.00",
        "valid_from": "2024-01-01T00:00:00",
        "rates": _rates(rates),
    }
    return _json("POST /api/tariffs", "POST", "/api/tariffs", body, {201, 409})


def put_rates(code: str, rates: Sequence[Rate]) -> Call:
    return _json(
        "PUT /api/tariffs/{code}/rates", "PUT", f"/api/tariffs/{quote(code)}/rates", {"rates": _rates(rates)}, {200}
    )


def register_device(serial: str, customer_id: int) -> Call:
    """201 with the token, which is said only once."""
    body = {"serial": serial, "customer_id": customer_id, "model": "Powerbox 10", "capacity_wh": 10_000}
    return _json("POST /api/devices", "POST", "/api/devices", {**body, "max_power_w": MAX_POWER_W}, {201}, again=False)


def get_device(device_id: int) -> Call:
    return Call("GET /api/devices/{id}", "GET", f"/api/devices/{device_id}")


def get_schedule(device_id: int, token: str | None = None) -> Call:
    """As the device itself when its token is given."""
    return Call("GET /get-schedule/{id}", "GET", f"/get-schedule/{device_id}", headers=_as_device(token))


def put_schedule(device_id: int, slots: str) -> Call:
    return _json("PUT /api/devices/{id}/schedule", "PUT", f"/api/devices/{device_id}/schedule", {"slots": slots}, {200})


def create_ack(device_id: int, ref: str, state: str, observed: str, token: str | None = None) -> Call:
    """201 the first time, 200 for the same (ref, state) again."""
    body = {"ref": ref, "state": state, "observed": observed}
    target = f"/api/devices/{device_id}/acks"
    return _json("POST /api/devices/{id}/acks", "POST", target, body, {200, 201}, _as_device(token))


def list_acks(device_id: int, after: int, token: str | None = None) -> Call:
    """The first ack with an id above `after`."""
    target = f"/api/devices/{device_id}/acks?limit=1&after={after}"
    return Call("GET /api/devices/{id}/acks", "GET", target, headers=_as_device(token))


def create_customer(email: str, name: str) -> Call:
    """Customers stay in the monolith: this is nobody's domain."""
    body = {"email": email, "name": name, "password": secrets.token_urlsafe(12)}
    return _json("POST /api/customers", "POST", "/api/customers", body, {201}, again=False)


def send_notice(customer_id: int, subject: str, body: str) -> Call:
    """By e-mail; each call sends one, so it must not be repeated."""
    values = {"customer_id": customer_id, "channel": "E", "subject": subject, "body": body}
    return _json("POST /api/notifications", "POST", "/api/notifications", values, {201}, again=False)


def list_notices(customer_id: int, after: int, limit: int = 1) -> Call:
    """The customer's first `limit` notices with an id above `after`."""
    query = urlencode({"customer_id": customer_id, "limit": limit, "after": after})
    return Call("GET /api/notifications", "GET", f"/api/notifications?{query}")


def get_preferences(customer_id: int) -> Call:
    return Call("GET /api/customers/{id}/preferences", "GET", f"/api/customers/{customer_id}/preferences")


def put_preferences(customer_id: int, sms: str, push: str, quiet: tuple[str, str] | None) -> Call:
    """E-mail stays switched on, since notices are sent by it."""
    quiet_from, quiet_to = quiet or (None, None)
    body = {"email": "Y", "sms": sms, "push": push, "quiet_from": quiet_from, "quiet_to": quiet_to}
    target = f"/api/customers/{customer_id}/preferences"
    return _json("PUT /api/customers/{id}/preferences", "PUT", target, body, {200})


def _as_device(token: str | None) -> dict[str, str]:
    return {"X-Device-Token": token} if token else {}


def _rates(rates: Sequence[Rate]) -> list[dict[str, Any]]:
    return [{"hour_from": r.hour_from, "hour_to": r.hour_to, "price_kwh": r.price_kwh} for r in rates]


def _json(
    name: str,
    method: str,
    target: str,
    body: Any,
    expect: set[int],
    headers: dict[str, str] | None = None,
    again: bool = True,
) -> Call:
    sent = {"Content-Type": "application/json", **(headers or {})}
    return Call(name, method, target, json.dumps(body).encode(), sent, frozenset(expect), again)
