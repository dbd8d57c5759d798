"""What stays in the monolith: customers, contracts, meters, readings, billing, logging in, health."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from legacy_monolith.tests.shapes import answers, formatted, refused
from legacy_monolith.tests.world import World, area, eventually, unique

UNKNOWN = 2**62
SPRING = "2024-03-31"  # 23 hours; 02:00 is skipped
AUTUMN = "2024-10-27"  # 25 hours; 02:00 comes twice


def ean() -> str:
    return f"{secrets.randbelow(10**18):018d}"


def contract(backoffice: httpx.Client, customer_id: int, tariff_code: str, **changes: Any) -> dict[str, Any]:
    """A contract; its tariff may have to cross from pricing's side first."""
    wanted = {"customer_id": customer_id, "tariff_code": tariff_code, "start_day": "2024-01-01", **changes}
    return eventually(lambda: backoffice.post("/api/contracts", json=wanted), 201).json()


def meter(backoffice: httpx.Client, contract_id: int) -> dict[str, Any]:
    made = backoffice.post("/api/meters", json={"contract_id": contract_id, "ean": ean()})
    assert made.status_code == 201, made.text
    return made.json()


class TestCustomers:
    def test_a_customer_is_made_changed_and_taken_away(self, backoffice: httpx.Client) -> None:
        email = f"{unique()}@example.net"
        wanted = {"email": email, "name": "Ilse Bos", "password": "long enough", "city": "Utrecht"}
        made = formatted(backoffice.post("/api/customers", json=wanted), 201)
        assert made == {
            "id": made["id"], "email": email, "name": "Ilse Bos", "phone": None, "city": "Utrecht", "status": "A",
            "created": made["created"], "updated": made["created"],
        }  # fmt: skip
        path = f"/api/customers/{made['id']}"
        answers(backoffice.get(path), 200, made)
        answers(backoffice.get("/api/customers", params={"email": email}), 200, {"customers": [made], "next": None})
        changed = formatted(backoffice.put(path, json={"phone": "+31612345678", "city": None}))
        assert changed == {**made, "phone": "+31612345678", "city": None, "updated": changed["updated"]}
        gone = backoffice.delete(path)
        assert (gone.status_code, gone.content) == (204, b"")
        answers(backoffice.get(path), 404, {"error": "customer not found"})

    def test_an_address_is_used_once(self, backoffice: httpx.Client, world: World) -> None:
        one, other = world.customer(), world.customer()
        again = {"email": one.email, "name": "x", "password": "long enough"}
        answers(backoffice.post("/api/customers", json=again), 409, {"error": "email exists"})
        taken = backoffice.put(f"/api/customers/{other.id}", json={"email": one.email})
        answers(taken, 409, {"error": "email exists"})

    def test_a_customer_with_a_contract_stays(self, backoffice: httpx.Client, world: World) -> None:
        customer = world.customer()
        contract(backoffice, customer.id, world.tariff()["code"])
        refused(backoffice.delete(f"/api/customers/{customer.id}"), 409)
        assert backoffice.get(f"/api/customers/{customer.id}").status_code == 200

    def test_customers_come_in_pages(self, backoffice: httpx.Client, world: World) -> None:
        ids = [world.customer().id for _ in range(3)]
        page = formatted(backoffice.get("/api/customers", params={"after": ids[0] - 1, "limit": 2}))
        assert page["customers"][0]["id"] == ids[0]
        assert page["next"] == page["customers"][1]["id"]

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"email": None}, 400),
            ({"email": 5}, 400),
            ({"email": "nobody"}, 422),
            ({"email": "a@example.net\nBcc: b@example.net"}, 422),
            ({"name": None}, 400),
            ({"name": "x" * 101}, 422),
            ({"password": None}, 400),
            ({"password": "short"}, 422),
            ({"phone": 31}, 400),
        ],
        ids=str,
    )
    def test_a_bad_customer_is_refused(self, backoffice: httpx.Client, change: dict[str, object], status: int) -> None:
        email = f"{unique()}@example.net"
        good = {"email": email, "name": "n", "password": "long enough"}
        refused(backoffice.post("/api/customers", json={**good, **change}), status)
        empty = {"customers": [], "next": None}
        answers(backoffice.get("/api/customers", params={"email": email}), 200, empty)

    def test_only_the_back_office_sees_customers(self, anyone: httpx.Client, world: World) -> None:
        customer = world.known_customer()
        paths = ["/api/customers", f"/api/customers/{customer.id}", "/api/contracts", "/api/meters"]
        for path in paths:
            answers(anyone.get(path), 401, {"error": "authentication required"})
            answers(customer.client.get(path), 403, {"error": "forbidden"})

    def test_what_is_unknown_is_not_found(self, backoffice: httpx.Client) -> None:
        for method, path, what in (
            ("GET", f"/api/customers/{UNKNOWN}", "customer"),
            ("PUT", f"/api/customers/{UNKNOWN}", "customer"),
            ("DELETE", f"/api/customers/{UNKNOWN}", "customer"),
            ("GET", f"/api/contracts/{UNKNOWN}", "contract"),
            ("GET", f"/api/meters/{UNKNOWN}", "meter"),
            ("GET", f"/api/meters/{UNKNOWN}/readings?from=2024-01-01&to=2024-01-02", "meter"),
            ("GET", f"/api/invoices/{UNKNOWN}", "invoice"),
        ):
            body = {} if method == "PUT" else None
            answers(backoffice.request(method, path, json=body), 404, {"error": f"{what} not found"})


class TestLogin:
    def test_a_customer_logs_in_and_out(self, world: World) -> None:
        customer = world.customer()
        cookie = customer.client.cookies["session"]
        assert cookie
        answers(customer.client.get("/api/quotes"), 200, {"quotes": [], "next": None})
        assert customer.client.post("/logout").status_code == 200
        answers(customer.client.get("/api/quotes"), 401, {"error": "authentication required"})

    def test_a_wrong_password_and_an_unknown_address_are_told_the_same(
        self, anyone: httpx.Client, world: World
    ) -> None:
        customer = world.customer()
        for email, password in ((customer.email, "wrong"), (f"{unique()}@example.net", customer.password)):
            got = anyone.post("/login", json={"email": email, "password": password})
            answers(got, 401, {"error": "invalid email or password"})
            assert "set-cookie" not in got.headers

    @pytest.mark.parametrize("body", [{}, {"email": "a@example.net"}, {"email": 1, "password": "x"}], ids=str)
    def test_an_incomplete_login_is_refused(self, anyone: httpx.Client, body: dict[str, object]) -> None:
        refused(anyone.post("/login", json=body), 400)


class TestContractsAndMeters:
    def test_a_contract_is_answered_in_full_and_listed(self, backoffice: httpx.Client, world: World) -> None:
        customer, tariff = world.customer(), world.tariff()
        made = contract(backoffice, customer.id, tariff["code"], end_day="2025-01-01")
        assert made == {
            "id": made["id"], "customer_id": customer.id, "tariff_code": tariff["code"], "area": "NL",
            "start_day": "2024-01-01", "end_day": "2025-01-01", "status": "A", "created": made["created"],
        }  # fmt: skip
        answers(backoffice.get(f"/api/contracts/{made['id']}"), 200, made)
        listed = backoffice.get("/api/contracts", params={"customer_id": customer.id})
        answers(listed, 200, {"contracts": [made], "next": None})

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"customer_id": "x"}, 400),
            ({"customer_id": UNKNOWN}, 404),
            ({"tariff_code": None}, 400),
            ({"tariff_code": "no-such-tariff"}, 404),
            ({"start_day": "2024-02-30"}, 400),
            ({"start_day": "2024-01-01T00:00:00"}, 400),
            ({"end_day": "2024-01-01"}, 422),
            ({"area": "somewhere else"}, 422),
        ],
        ids=str,
    )
    def test_a_bad_contract_is_refused(
        self, backoffice: httpx.Client, world: World, change: dict[str, object], status: int
    ) -> None:
        customer = world.known_customer()
        good = {"customer_id": customer.id, "tariff_code": unique(), "start_day": "2024-01-01"}
        refused(backoffice.post("/api/contracts", json={**good, **change}), status)

    def test_a_meter_belongs_to_one_contract(self, backoffice: httpx.Client, world: World) -> None:
        held = contract(backoffice, world.customer().id, world.tariff()["code"])
        made = meter(backoffice, held["id"])
        assert made == {"id": made["id"], "contract_id": held["id"], "ean": made["ean"], "created": made["created"]}
        answers(backoffice.get(f"/api/meters/{made['id']}"), 200, made)
        listed = backoffice.get("/api/meters", params={"contract_id": held["id"]})
        answers(listed, 200, {"meters": [made], "next": None})
        again = backoffice.post("/api/meters", json={"contract_id": held["id"], "ean": made["ean"]})
        answers(again, 409, {"error": "ean exists"})
        unknown = backoffice.post("/api/meters", json={"contract_id": UNKNOWN, "ean": ean()})
        answers(unknown, 404, {"error": "contract not found"})
        refused(backoffice.post("/api/meters", json={"contract_id": held["id"], "ean": "123"}), 422)


class TestReadings:
    @pytest.fixture
    def metered(self, backoffice: httpx.Client, world: World) -> tuple[httpx.Client, int]:
        """A customer's client and its meter."""
        customer = world.customer()
        return customer.client, meter(backoffice, contract(backoffice, customer.id, world.tariff()["code"])["id"])["id"]

    def test_readings_are_kept_once_and_shown_to_their_customer(
        self, backoffice: httpx.Client, anyone: httpx.Client, world: World, metered: tuple[httpx.Client, int]
    ) -> None:
        client, meter_id = metered

        def post(*amounts: object) -> httpx.Response:
            rows = [
                {"meter_id": meter_id, "ts": f"2024-05-02T{hour:02d}:00:00", "kwh": kwh}
                for hour, kwh in enumerate(amounts)
            ]
            return backoffice.post("/api/readings", json={"readings": rows})

        answers(post("0.25", 1), 200, {"inserted": 2, "updated": 0, "unchanged": 0})
        answers(post("0.250", 1.0), 200, {"inserted": 0, "updated": 0, "unchanged": 2})
        answers(post("0.25", "2", "-0.5"), 200, {"inserted": 1, "updated": 1, "unchanged": 1})
        path = f"/api/meters/{meter_id}/readings"
        day = {"from": "2024-05-02", "to": "2024-05-03"}
        expected = {
            "meter_id": meter_id,
            "readings": [
                {"ts": "2024-05-02T00:00:00", "hour_flag": "N", "kwh": "0.250"},
                {"ts": "2024-05-02T01:00:00", "hour_flag": "N", "kwh": "2.000"},
                {"ts": "2024-05-02T02:00:00", "hour_flag": "N", "kwh": "-0.500"},
            ],
        }
        for caller in (client, backoffice):
            answers(caller.get(path, params=day), 200, expected)
        answers(world.customer().client.get(path, params=day), 403, {"error": "forbidden"})
        answers(anyone.get(path, params=day), 401, {"error": "authentication required"})
        refused(backoffice.get(path, params={"from": "2024-05-02"}), 400)

    def test_the_repeated_hour_is_two_readings(
        self, backoffice: httpx.Client, metered: tuple[httpx.Client, int]
    ) -> None:
        _, meter_id = metered
        rows = [{"meter_id": meter_id, "ts": f"{AUTUMN}T02:00:00", "hour_flag": f, "kwh": "1"} for f in ("A", "B")]
        answers(
            backoffice.post("/api/readings", json={"readings": rows}),
            200,
            {"inserted": 2, "updated": 0, "unchanged": 0},
        )

    @pytest.mark.parametrize(
        ("bad", "status"),
        [
            ({"ts": f"{SPRING}T02:00:00"}, 422),
            ({"ts": f"{AUTUMN}T02:00:00"}, 422),
            ({"ts": "2024-05-02T00:15:00"}, 422),
            ({"kwh": "1.0005"}, 422),
            ({"kwh": "some"}, 400),
            ({"kwh": None}, 400),
            ({"meter_id": "1"}, 400),
            ({"meter_id": UNKNOWN}, 404),
            ({"meter_id": 2**70}, 404),
        ],
        ids=str,
    )
    def test_one_bad_reading_refuses_the_whole_batch(
        self, backoffice: httpx.Client, metered: tuple[httpx.Client, int], bad: dict[str, object], status: int
    ) -> None:
        _, meter_id = metered
        good = {"meter_id": meter_id, "ts": "2024-05-02T00:00:00", "kwh": "1"}
        rows = [good, {**good, "ts": "2024-05-02T01:00:00", **bad}]
        refused(backoffice.post("/api/readings", json={"readings": rows}), status)
        day = {"from": "2024-01-01", "to": "2024-12-31"}
        got = backoffice.get(f"/api/meters/{meter_id}/readings", params=day)
        answers(got, 200, {"meter_id": meter_id, "readings": []})


class TestBilling:
    def test_a_month_becomes_one_invoice_however_often_it_is_billed(
        self, backoffice: httpx.Client, anyone: httpx.Client, world: World
    ) -> None:
        customer, tariff = world.customer(), world.tariff()
        held = contract(backoffice, customer.id, tariff["code"], start_day="2024-05-10")
        connected = meter(backoffice, held["id"])
        rows = [
            {"meter_id": connected["id"], "ts": "2024-05-12T06:00:00", "kwh": "10.5"},
            {"meter_id": connected["id"], "ts": "2024-05-12T07:00:00", "kwh": "2"},
        ]
        backoffice.post("/api/readings", json={"readings": rows})
        wanted = {"customer_id": customer.id, "month": "2024-05"}
        trial = formatted(
            # Until the rates have come through from pricing's side there is no price.
            eventually(lambda: backoffice.post("/api/billing/run", json={**wanted, "dry_run": True}), 200, waiting=422)
        )
        run = formatted(backoffice.post("/api/billing/run", json=wanted))
        [invoice] = run["invoices"]
        # 10.5 kWh at 0.20 and 2 kWh at 0.30; 22 days at 25 cents; 21 % on both
        days = {"day_from": "2024-05-10", "day_to": "2024-06-01"}
        assert invoice == {
            "id": invoice["id"], "number": f"2024-05-{held['id']:06d}", "customer_id": customer.id,
            "contract_id": held["id"], "tariff_code": tariff["code"], "month": "2024-05", "created": invoice["created"],
            "net_cents": 820, "vat_cents": 172, "total_cents": 992,
            "lines": [
                {"line_no": 1, "kind": "E", "description": f"Energy, meter {connected['ean']}", **days,
                 "kwh": "12.500", "amount": "2.70000", "amount_cents": 270},
                {"line_no": 2, "kind": "S", "description": "Standing charge", **days,
                 "kwh": None, "amount": "5.50000", "amount_cents": 550},
                {"line_no": 3, "kind": "V", "description": "VAT", **days,
                 "kwh": None, "amount": "1.72200", "amount_cents": 172},
            ],
        }  # fmt: skip
        assert run == {"month": "2024-05", "created": 1, "invoices": [invoice], "refused": []}
        assert [i["total_cents"] for i in trial["invoices"]] == [992]
        answers(backoffice.post("/api/billing/run", json=wanted), 200, {**run, "created": 0})
        short = {name: value for name, value in invoice.items() if name != "lines"}
        for caller in (customer.client, backoffice):
            answers(caller.get(f"/api/invoices/{invoice['id']}"), 200, invoice)
            listed = caller.get("/api/invoices", params={"customer_id": customer.id, "month": "2024-05"})
            answers(listed, 200, {"invoices": [short], "next": None})
        other = world.customer().client
        answers(other.get(f"/api/invoices/{invoice['id']}"), 403, {"error": "forbidden"})
        answers(other.get("/api/invoices"), 200, {"invoices": [], "next": None})
        answers(anyone.get("/api/invoices"), 401, {"error": "authentication required"})

    def test_a_trial_run_keeps_nothing(self, backoffice: httpx.Client, world: World) -> None:
        customer = world.customer()
        contract(backoffice, customer.id, world.tariff()["code"])
        wanted = {"customer_id": customer.id, "month": "2024-05", "dry_run": True}
        assert formatted(backoffice.post("/api/billing/run", json=wanted))["created"] == 1
        answers(customer.client.get("/api/invoices"), 200, {"invoices": [], "next": None})

    def test_a_dynamic_contract_pays_each_hour_its_price(self, backoffice: httpx.Client, world: World) -> None:
        where, customer = area(), world.customer()
        held = contract(backoffice, customer.id, world.tariff(kind="D", rates=[])["code"], area=where)
        connected = meter(backoffice, held["id"])
        hours = [
            (f"{AUTUMN}T02:00:00", "A", "100"),
            (f"{AUTUMN}T02:00:00", "B", "-50"),
            (f"{AUTUMN}T03:00:00", "N", "8"),
        ]
        prices = [{"ts": ts, "hour_flag": flag, "eur_mwh": eur} for ts, flag, eur in hours]
        readings = [{"meter_id": connected["id"], "ts": t, "hour_flag": f, "kwh": "10"} for t, f, _ in hours]
        backoffice.post("/api/prices", json={"area": where, "source": "test", "prices": prices})
        backoffice.post("/api/readings", json={"readings": readings})
        wanted = {"customer_id": customer.id, "month": "2024-10"}
        run = eventually(lambda: backoffice.post("/api/billing/run", json=wanted), 200, waiting=422).json()
        assert run["invoices"][0]["lines"][0]["amount"] == "0.58000"

    def test_an_hour_without_a_price_is_not_billed(self, backoffice: httpx.Client, world: World) -> None:
        customer = world.customer()
        held = contract(backoffice, customer.id, world.tariff(kind="D", rates=[])["code"], area=area())
        connected = meter(backoffice, held["id"])
        reading = {"meter_id": connected["id"], "ts": "2024-05-12T06:00:00", "kwh": "1"}
        backoffice.post("/api/readings", json={"readings": [reading]})
        got = backoffice.post("/api/billing/run", json={"customer_id": customer.id, "month": "2024-05"})
        answers(got, 422, {"error": f"no price for meter {connected['id']} at 2024-05-12T06:00:00"})
        answers(customer.client.get("/api/invoices"), 200, {"invoices": [], "next": None})

    def test_two_runs_at_once_make_one_invoice(self, backoffice: httpx.Client, world: World) -> None:
        customer = world.customer()
        contract(backoffice, customer.id, world.tariff()["code"])
        wanted = {"customer_id": customer.id, "month": "2024-05"}
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: backoffice.post("/api/billing/run", json=wanted), range(6)))
        assert [answer.text for answer in answers if answer.status_code != 200] == []
        got = [answer.json() for answer in answers]
        assert sorted(run["created"] for run in got) == [0, 0, 0, 0, 0, 1]
        assert len({run["invoices"][0]["id"] for run in got}) == 1

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 400),
            ({"month": 5}, 400),
            ({"month": "2024-13"}, 400),
            ({"month": "May"}, 400),
            ({"month": "2999-01"}, 422),
            ({"month": "2024-05", "customer_id": "x"}, 400),
            ({"month": "2024-05", "customer_id": UNKNOWN}, 404),
            ({"month": "2024-05", "dry_run": "yes"}, 400),
        ],
        ids=str,
    )
    def test_a_bad_run_is_refused(self, backoffice: httpx.Client, body: dict[str, object], status: int) -> None:
        refused(backoffice.post("/api/billing/run", json=body), status)

    def test_only_the_back_office_bills(self, anyone: httpx.Client, world: World) -> None:
        for path in ("/api/billing/run", "/api/readings"):
            answers(anyone.post(path, json={}), 401, {"error": "authentication required"})
            answers(world.known_customer().client.post(path, json={}), 403, {"error": "forbidden"})


class TestTheRest:
    def test_an_unknown_route_is_a_json_error(self, anyone: httpx.Client) -> None:
        for path in ("/nothing", "/api/customers/one", f"/api/customers/{2**80}", "/api/customers/-1"):
            answers(anyone.get(path), 404, {"error": "not found"})

    def test_a_method_that_a_route_does_not_know_is_a_json_error(self, anyone: httpx.Client) -> None:
        got = anyone.delete("/api/invoices")
        answers(got, 405, {"error": "method not allowed"})
        assert "GET" in got.headers["allow"]

    def test_health_says_ok(self, anyone: httpx.Client) -> None:
        answers(anyone.get("/health"), 200, {"status": "ok"})

    def test_the_index_names_what_can_be_called(self, anyone: httpx.Client) -> None:
        got = anyone.get("/")
        said = formatted(got)
        assert set(said) == {"about", "callers", "health", "resources"}
        assert said["resources"]["/api/tariffs"] == ["GET", "POST"]
        assert said["resources"]["/get-schedule/{device_id}"] == ["GET"]
        assert got.headers["vary"] == "Accept"
        for path, methods in said["resources"].items():
            if "GET" in methods and "{" not in path:
                assert anyone.get(path).status_code in (200, 400, 401), path

    def test_the_index_is_a_page_for_a_browser(self, anyone: httpx.Client) -> None:
        got = anyone.get("/", headers={"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"})
        assert (got.status_code, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
        for path in ("/health", "/api/tariffs"):
            assert f'<a href="{path}">' in got.text

    def test_a_request_id_comes_back(self, anyone: httpx.Client) -> None:
        given = anyone.get("/api/tariffs", headers={"X-Request-Id": "abc-123"})
        assert given.headers["x-request-id"] == "abc-123"
        assert anyone.get("/api/tariffs").headers["x-request-id"]
