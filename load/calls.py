"""The calls that clients make against pricing and devices, as plain values: the fleet and Locust send the same ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `name` groups calls in reports; `expect` are the statuses that are an answer to it."""

    name: str
    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    expect: frozenset[int] = frozenset({200})

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
    """A fixed tariff. 409 answers a repetition whose first answer was lost."""
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


def get_schedule(device_id: int) -> Call:
    return Call("GET /get-schedule/{id}", "GET", f"/get-schedule/{device_id}")


def create_ack(device_id: int, ref: str, state: str, observed: str) -> Call:
    """201 the first time, 200 for the same (ref, state) again."""
    body = {"ref": ref, "state": state, "observed": observed}
    return _json("POST /api/devices/{id}/acks", "POST", f"/api/devices/{device_id}/acks", body, {200, 201})


def _rates(rates: Sequence[Rate]) -> list[dict[str, Any]]:
    return [{"hour_from": r.hour_from, "hour_to": r.hour_to, "price_kwh": r.price_kwh} for r in rates]


def _json(
    name: str, method: str, target: str, body: Any, expect: set[int], headers: dict[str, str] | None = None
) -> Call:
    sent = {"Content-Type": "application/json", **(headers or {})}
    return Call(name, method, target, json.dumps(body).encode(), sent, frozenset(expect))
