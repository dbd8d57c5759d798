"""The monolith and a service, asked the same in the same state, answer the same status and bytes, bad input too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from banyan.servers import Postgres
from tests.integration.services.processes import (
    BACK_OFFICE,
    SECRET,
    migrated,
    monolith_database,
    running_monolith,
    running_service,
)

pytestmark = pytest.mark.long  # the monolith's own contract against a service, request by request

CUSTOMER_ROW = """
    INSERT INTO customer (id, email, name, status, password_hash, created, updated)
    VALUES (1, 'one@example.net', 'One', 'A', '', now(), now()), (2, 'two@example.net', 'Two', 'A', '', now(), now())
"""
REFS = {
    "pricing": "INSERT INTO customer_refs (id) VALUES (1), (2)",
    "devices": "INSERT INTO customer_refs (id) VALUES (1), (2)",
    "notifications": "INSERT INTO customer_refs (id, email) VALUES (1, 'one@example.net'), (2, 'two@example.net')",
}


def session_of(customer_id: int) -> dict[str, str]:
    """The cookie that the monolith's login gives."""
    app = Flask("legacy_monolith")
    app.secret_key = SECRET
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return {"Cookie": f"session={serializer.dumps({'customer_id': customer_id})}"}


@dataclass
class Pair:
    """Both sides. Ids are numbered by each side in its own way, so paths name them `{first}` and so on."""

    monolith: httpx.Client
    service: httpx.Client
    ids: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def ask(self, method: str, path: str, *, keep: str | None = None, **request: Any) -> None:
        """Both must answer alike; `keep` remembers the ids (and tokens) that they gave."""
        answers = [self._one(side, method, path, **request) for side in (0, 1)]
        assert self._plain(answers[0]) == self._plain(answers[1]), f"{method} {path} {request}"
        if keep:
            bodies = [answer.json() for answer in answers]
            self.ids[keep] = (bodies[0]["id"], bodies[1]["id"])
            self.ids[f"{keep}.token"] = (bodies[0].get("token"), bodies[1].get("token"))

    def _one(self, side: int, method: str, path: str, **request: Any) -> httpx.Response:
        for name, values in self.ids.items():
            path = path.replace(f"{{{name}}}", str(values[side]))
            headers = request.get("headers", {}).items()
            request["headers"] = {key: value.replace(f"{{{name}}}", str(values[side])) for key, value in headers}
        return (self.monolith, self.service)[side].request(method, path, **request)

    @staticmethod
    def _plain(answer: httpx.Response) -> tuple[int, str | None, str]:
        """Status, type and body; ids, tokens and the present time replaced."""
        text = re.sub(r'"(id|next|device_id)":\d+', r'"\1":0', answer.text)
        text = re.sub(r'"(created|updated|registered|received|sent)":"[^"]+"', r'"\1":"T"', text)
        text = re.sub(r'"token":"[^"]+"', '"token":"K"', text)
        return answer.status_code, answer.headers.get("content-type"), text


@pytest.fixture(scope="module")
def pair_of(
    postgres: Postgres, service_postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Pair]]:
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        legacy = monolith_database(postgres)
        monolith = stack.enter_context(running_monolith(legacy, folder / "monolith.log"))
        with psycopg.connect(legacy) as connection:
            connection.execute(CUSTOMER_ROW)

        def pair(domain: str) -> Pair:
            dsn = migrated(service_postgres, domain)
            with psycopg.connect(dsn) as connection:
                connection.execute(REFS[domain])
            service = stack.enter_context(running_service(domain, dsn, folder / f"{domain}.log"))
            return Pair(
                stack.enter_context(httpx.Client(base_url=monolith, timeout=15)),
                stack.enter_context(httpx.Client(base_url=service, timeout=15)),
            )

        yield pair


FLAT = [{"hour_from": 0, "hour_to": 24, "price_kwh": 0.25}]
TARIFF = {
    "code": "T", "name": "Zomer é", "kind": "F", "standing_cents": 31, "vat_pct": "21.5",
    "valid_from": "2024-10-27T02:30:00", "rates": FLAT,
}  # fmt: skip
BODIES = [b"", b"{", b"[]", b"null", b"\xff", b"NaN", b'{"a":Infinity}', b'"x"', b"{}", b"[" * 2000]
ODD = [None, "", "x", " ", 0, 1, -1, 1.5, 10**30, True, [], {}, "1", "1e3", "١", "a\x00b", "\ud800", "x" * 300]
HOUR = {"ts": "2024-10-27T02:00:00", "hour_flag": "A", "eur_mwh": "-12.3"}
BATCH = {"area": "NL", "source": "test", "prices": [HOUR, {**HOUR, "hour_flag": "B", "eur_mwh": 7}]}
QUOTE = {"tariff_code": "T", "kwh": "120.5", "customer_id": 1}
STAMPS = [
    "2024-03-31T02:00:00", "2024-10-27T02:00:00", "2024-10-27T03:00:00", "2024-02-30T00:00:00", "2024-05-01",
    "2024-05-01T00:30:00", "1899-01-01T00:00:00", "9001-01-01T00:00:00", "2024-05-01T24:00:00", "2024-05-01T00:00:00Z",
]  # fmt: skip


def ask_with_odd_fields(pair: Pair, method: str, path: str, good: dict[str, Any], **request: Any) -> None:
    """Each field in turn missing, and odd."""
    for name in good:
        pair.ask(method, path, json={key: value for key, value in good.items() if key != name}, **request)
        for odd in ODD:
            content = json.dumps({**good, name: odd})
            pair.ask(method, path, content=content, **request)


def test_pricing_answers_alike(pair_of: Callable[[str], Pair]) -> None:
    pair = pair_of("pricing")
    office = {"headers": BACK_OFFICE}
    for path in ("/api/tariffs", "/api/prices", "/api/quotes"):
        pair.ask("POST", path, json={})
        pair.ask("POST", path, json={}, headers={"X-Api-Key": "wrong"})
        pair.ask("POST", path, json={}, headers={"X-Api-Key": ""})
        for body in BODIES:
            pair.ask("POST", path, content=body, **office)
    pair.ask("POST", "/api/tariffs", json=TARIFF, **office)
    pair.ask("POST", "/api/tariffs", json=TARIFF, **office)
    pair.ask("POST", "/api/tariffs", json={**TARIFF, "code": "a/é ", "kind": "D", "rates": []}, **office)
    pair.ask("POST", "/api/tariffs", json={**TARIFF, "code": "Empty", "rates": None}, **office)
    ask_with_odd_fields(pair, "POST", "/api/tariffs", {**TARIFF, "code": "T"}, **office)
    for stamp in STAMPS:
        pair.ask("POST", "/api/tariffs", json={**TARIFF, "code": "T", "valid_from": stamp}, **office)
    for path in ("T", "t", "unknown", "a%00b", "%ff"):
        pair.ask("PUT", f"/api/tariffs/{path}/rates", json={"rates": FLAT}, **office)
    ask_with_odd_fields(pair, "PUT", "/api/tariffs/T/rates", {"rates": FLAT}, **office)
    for name in FLAT[0]:
        for odd in ODD:
            content = json.dumps({"rates": [{**FLAT[0], name: odd}]})
            pair.ask("PUT", "/api/tariffs/T/rates", content=content, **office)
    pair.ask("GET", "/api/tariffs")

    pair.ask("POST", "/api/prices", json=BATCH, **office)
    pair.ask("POST", "/api/prices", json=BATCH, **office)
    pair.ask("POST", "/api/prices", json={**BATCH, "source": "other", "prices": [HOUR]}, **office)
    pair.ask("POST", "/api/prices", json={**BATCH, "prices": [HOUR, HOUR]}, **office)
    ask_with_odd_fields(pair, "POST", "/api/prices", BATCH, **office)
    for name in HOUR:
        for odd in [*ODD, *STAMPS]:
            pair.ask("POST", "/api/prices", content=json.dumps({**BATCH, "prices": [{**HOUR, name: odd}]}), **office)
    for query in (
        "", "area=NL", "area=NL&from=2024-10-27&to=2024-10-28", "area=NL&from=2024-10-27&to=2024-10-27",
        "area=NL&area=BE&from=2024-10-27&from=x&to=2024-10-28", "area=N%20L&from=2024-10-27&to=2024-10-28",
        "area=NL&from=2023-10-27&to=2024-10-28", "area=NL&from=2024-02-30&to=2024-03-01", "area=%ff&from=a&to=b",
        "area=NL&from=2024-01-01&to=2025-01-01", "area=NL&from=1899-12-31&to=1900-01-01", "area=NL;from=2024-10-27",
        "area=NL&from=9000-12-30&to=9000-12-31",
    ):  # fmt: skip
        pair.ask("GET", f"/api/prices?{query}")

    pair.ask("POST", "/api/quotes", json=QUOTE, keep="first", **office)
    pair.ask("POST", "/api/quotes", json={**QUOTE, "tariff_code": "a/é "}, **office)
    pair.ask("POST", "/api/quotes", json={**QUOTE, "tariff_code": "Empty"}, **office)
    pair.ask("POST", "/api/quotes", json={**QUOTE, "customer_id": 99}, **office)
    pair.ask("POST", "/api/quotes", json={**QUOTE, "customer_id": 99, "tariff_code": "?"}, **office)
    pair.ask("POST", "/api/quotes", json={**QUOTE, "kwh": 10**8}, **office)
    ask_with_odd_fields(pair, "POST", "/api/quotes", QUOTE, **office)
    keyed = {"headers": {**BACK_OFFICE, "Idempotency-Key": "k1"}}
    for change in ({}, {}, {"kwh": 120.5}, {"kwh": 1}, {"customer_id": 2}, {"tariff_code": "?"}):
        pair.ask("POST", "/api/quotes", json={**QUOTE, **change}, **keyed)
    for key in ("", "a b", "x" * 64, "x" * 65):
        pair.ask("POST", "/api/quotes", json=QUOTE, headers={**BACK_OFFICE, "Idempotency-Key": key})
    for caller in (BACK_OFFICE, session_of(1), session_of(2), {}, {"Cookie": "session=forged"}):
        for path in ("/api/quotes/{first}", "/api/quotes", "/api/quotes?limit=1", "/api/quotes/999"):
            pair.ask("GET", path, headers=caller)
        pair.ask("POST", "/api/quotes", json={**QUOTE, "customer_id": 1}, headers=caller)
        pair.ask("POST", "/api/quotes", json={"tariff_code": "T", "kwh": 1}, headers=caller)
    for path in ("0", "-1", "x", "00", "9223372036854775808", "1.0"):
        pair.ask("GET", f"/api/quotes/{path}", **office)
    for query in ("limit=0", "limit=1001", "limit=x", "limit=", "after=-1", "after=9223372036854775808", "limit=%2B1"):
        pair.ask("GET", f"/api/quotes?{query}", **office)


DEVICE = {"serial": "B1", "customer_id": 1, "model": "P", "capacity_wh": 10000, "max_power_w": 5000}
SLOTS = [
    "", "0000-2400 H0", "0000-0500 C2500;0500-1600 H0;1600-2000 D3000", "0000-2401 H0", "0500-0500 H0", "0000-0500 C0",
    "0000-0500 C5001", "0000-0500 H1", "0000-0600 C1;0500-0700 C1", "0000-0500 X1", "0000-0500 C01", ";",
    "0060-0100 H0", "0000-0500  C1", "0000-0500 C1;",
    "'\"\\", ";".join(f"00{n:02}-00{n + 1:02} H0" for n in range(59)) , "a;" * 97,
    "x" * 4001,
]  # fmt: skip
ACK = {"ref": "r1", "state": "D", "observed": "2024-07-01T12:00:00", "note": "fine"}


def test_devices_answers_alike(pair_of: Callable[[str], Pair]) -> None:
    pair = pair_of("devices")
    office = {"headers": BACK_OFFICE}
    for body in BODIES:
        pair.ask("POST", "/api/devices", content=body, **office)
    pair.ask("POST", "/api/devices", json=DEVICE, keep="one", **office)
    pair.ask("POST", "/api/devices", json=DEVICE, **office)
    pair.ask("POST", "/api/devices", json={**DEVICE, "serial": "B2"}, keep="two", **office)
    pair.ask("POST", "/api/devices", json={**DEVICE, "serial": "B3", "customer_id": 99}, **office)
    ask_with_odd_fields(pair, "POST", "/api/devices", {**DEVICE, "serial": "B1"}, **office)
    device = {"headers": {"X-Device-Token": "{one.token}"}}
    pair.ask("GET", "/get-schedule/{one}", **device)
    for text in [*SLOTS, SLOTS[2], SLOTS[2]]:
        pair.ask("PUT", "/api/devices/{one}/schedule", json={"slots": text}, **office)
    ask_with_odd_fields(pair, "PUT", "/api/devices/{one}/schedule", {"slots": ""}, **office)
    for caller in (device["headers"], BACK_OFFICE, session_of(1), {}, {"X-Device-Token": "no"}, {"X-Device-Token": ""}):
        for path in (
            "/get-schedule/{one}", "/get-schedule/{two}", "/get-schedule/999", "/get-schedule/x", "/api/devices/{one}",
            "/api/devices", "/api/devices?limit=1", "/api/devices/{one}/acks", "/api/devices/999/acks",
            "/api/devices/x",
        ):  # fmt: skip
            pair.ask("GET", path, headers=caller)
        pair.ask("POST", "/api/devices/{one}/acks", json=ACK, headers=caller)
        pair.ask("POST", "/api/devices/{two}/acks", json=ACK, headers=caller)
        pair.ask("PUT", "/api/devices/{one}/schedule", json={"slots": ""}, headers=caller)
        pair.ask("POST", "/api/devices", json={}, headers=caller)
    ask_with_odd_fields(pair, "POST", "/api/devices/{one}/acks", ACK, **device)
    for stamp in STAMPS:
        pair.ask("POST", "/api/devices/{one}/acks", json={**ACK, "ref": stamp, "observed": stamp}, **device)
    pair.ask("GET", "/api/devices/{one}/acks?limit=2", **device)
    pair.ask("GET", "/api/devices", **office)


NOTE = {"customer_id": 1, "channel": "E", "subject": "Hoi é", "body": "a\nb", "to": "x@example.net"}
WISH = {"email": "Y", "sms": "Y", "push": "N", "quiet_from": "22:00", "quiet_to": "07:00"}


def test_notifications_answers_alike(pair_of: Callable[[str], Pair]) -> None:
    pair = pair_of("notifications")
    office = {"headers": BACK_OFFICE}
    for body in BODIES:
        pair.ask("POST", "/api/notifications", content=body, **office)
    pair.ask("POST", "/api/notifications", json=NOTE, **office)
    for change in (
        {"to": None}, {"to": "nobody"}, {"channel": "S"}, {"channel": "P", "to": None}, {"customer_id": 99},
        {"to": "a@b.c\nBcc: d@e.f"}, {"subject": "a\nb"}, {"body": "x" * 10_001},
    ):  # fmt: skip
        pair.ask("POST", "/api/notifications", json={**NOTE, **change}, **office)
    ask_with_odd_fields(pair, "POST", "/api/notifications", NOTE, **office)
    path = "/api/customers/1/preferences"
    pair.ask("GET", path, **office)
    ask_with_odd_fields(pair, "PUT", path, WISH, **office)
    pair.ask("PUT", path, json=WISH, **office)
    for change in (
        {"quiet_to": "22:00"}, {"quiet_to": None}, {"quiet_from": "24:00"}, {"quiet_from": "7:00"}, {"email": "N"},
        {"quiet_from": None, "quiet_to": None},
    ):  # fmt: skip
        pair.ask("PUT", path, json={**WISH, **change}, **office)
        pair.ask("GET", path, **office)
        pair.ask("POST", "/api/notifications", json={**NOTE, "channel": "P", "to": "phone"}, **office)
    for caller in (BACK_OFFICE, session_of(1), session_of(2), {}):
        for path in (
            "/api/customers/1/preferences", "/api/customers/99/preferences", "/api/customers/x/preferences",
            "/api/notifications", "/api/notifications?customer_id=1&limit=1", "/api/notifications?customer_id=x",
            "/api/notifications?customer_id=2", "/api/notifications?limit=0&customer_id=x",
        ):  # fmt: skip
            pair.ask("GET", path, headers=caller)
        pair.ask("PUT", "/api/customers/1/preferences", json=WISH, headers=caller)
        pair.ask("POST", "/api/notifications", json={}, headers=caller)
