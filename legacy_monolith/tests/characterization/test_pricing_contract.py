"""Tariffs, prices and quotes as clients know them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import httpx
import pytest

from legacy_monolith.tests.shapes import answers, formatted, refused
from legacy_monolith.tests.world import FIXED_RATES, World, area, eventually, unique

LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
SPRING = "2024-03-31"  # 23 hours; 02:00 is skipped
AUTUMN = "2024-10-27"  # 25 hours; 02:00 comes twice


def hours(day: str, amounts: dict[int, str]) -> list[dict[str, str]]:
    return [{"ts": f"{day}T{hour:02d}:00:00", "eur_mwh": amount} for hour, amount in amounts.items()]


def half_up_cents(amount: Fraction) -> int:
    exact = Decimal(amount.numerator * 100) / Decimal(amount.denominator)
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


class TestTariffs:
    def test_a_new_tariff_is_answered_in_full_and_listed_by_code(
        self, backoffice: httpx.Client, anyone: httpx.Client
    ) -> None:
        code = unique("T")
        wanted = {
            "code": code,
            "name": "Zomer é",
            "kind": "F",
            "standing_cents": 31,
            "vat_pct": "9",
            "valid_from": "2024-07-01T00:00:00",
            "rates": FIXED_RATES,
        }
        tariff = {**wanted, "vat_pct": "9.00", "status": "A"}
        answers(backoffice.post("/api/tariffs", json=wanted), 201, tariff)
        listed = formatted(anyone.get("/api/tariffs"))["tariffs"]
        assert [t["code"] for t in listed] == sorted(t["code"] for t in listed)
        assert [t for t in listed if t["code"] == code] == [tariff]

    def test_a_tariff_may_come_without_rates_and_numbers_as_numbers(self, world: World) -> None:
        tariff = world.tariff(kind="D", rates=[], vat_pct=21.5)
        assert (tariff["rates"], tariff["vat_pct"], tariff["kind"]) == ([], "21.50", "D")

    def test_a_code_is_given_once(self, backoffice: httpx.Client, world: World) -> None:
        first = world.tariff()
        again = backoffice.post("/api/tariffs", json={**first, "name": "Other"})
        answers(again, 409, {"error": "tariff code exists"})
        listed = backoffice.get("/api/tariffs").json()["tariffs"]
        assert [t["name"] for t in listed if t["code"] == first["code"]] == [first["name"]]

    def test_new_rates_replace_the_old_and_putting_them_again_changes_nothing(
        self, backoffice: httpx.Client, world: World
    ) -> None:
        tariff = world.tariff()
        flat = [{"hour_from": 0, "hour_to": 24, "price_kwh": "-0.01000"}]
        changed = {**tariff, "rates": flat}
        for _ in range(2):
            answers(backoffice.put(f"/api/tariffs/{tariff['code']}/rates", json={"rates": flat}), 200, changed)

    def test_rates_may_come_in_any_order(self, backoffice: httpx.Client, world: World) -> None:
        tariff = world.tariff()
        put = backoffice.put(f"/api/tariffs/{tariff['code']}/rates", json={"rates": FIXED_RATES[::-1]})
        answers(put, 200, tariff)

    @pytest.mark.parametrize(
        "edges",
        [[(0, 23)], [(1, 24)], [(0, 12), (13, 24)], [(0, 13), (12, 24)], [(0, 24), (0, 24)], [(12, 12)], []],
        ids=["end", "start", "gap", "overlap", "twice", "empty", "none"],
    )
    def test_rates_with_a_gap_or_an_overlap_are_refused_and_the_old_ones_stay(
        self, backoffice: httpx.Client, world: World, edges: list[tuple[int, int]]
    ) -> None:
        tariff = world.tariff()
        rates = [{"hour_from": a, "hour_to": b, "price_kwh": "0.1"} for a, b in edges]
        refused(backoffice.put(f"/api/tariffs/{tariff['code']}/rates", json={"rates": rates}), 422)
        listed = backoffice.get("/api/tariffs").json()["tariffs"]
        assert [t for t in listed if t["code"] == tariff["code"]] == [tariff]

    def test_rates_of_an_unknown_tariff_are_not_found(self, backoffice: httpx.Client) -> None:
        put = backoffice.put(f"/api/tariffs/{unique()}/rates", json={"rates": FIXED_RATES})
        answers(put, 404, {"error": "tariff not found"})

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"code": None}, 400),
            ({"code": 7}, 400),
            ({"code": "x" * 21}, 422),
            ({"name": ""}, 422),
            ({"name": "a\u0000b"}, 422),
            ({"kind": "Q"}, 422),
            ({"standing_cents": "25"}, 400),
            ({"standing_cents": 2.5}, 400),
            ({"standing_cents": True}, 400),
            ({"standing_cents": -1}, 422),
            ({"vat_pct": "a lot"}, 400),
            ({"vat_pct": "21.005"}, 422),
            ({"vat_pct": "100.01"}, 422),
            ({"valid_from": "2024-01-01"}, 400),
            ({"valid_from": "2024-13-01T00:00:00"}, 400),
            ({"valid_from": f"{SPRING}T02:30:00"}, 422),
            ({"rates": "none"}, 400),
            ({"rates": [1]}, 400),
            ({"rates": [{"hour_from": 0, "hour_to": 24}]}, 400),
        ],
        ids=str,
    )
    def test_a_bad_tariff_is_refused(self, backoffice: httpx.Client, change: dict[str, object], status: int) -> None:
        code = unique("T")
        good = {
            "code": code, "name": "n", "kind": "F", "standing_cents": 1, "vat_pct": "21",
            "valid_from": "2024-01-01T00:00:00",
        }  # fmt: skip
        refused(backoffice.post("/api/tariffs", json={**good, **change}), status)
        assert code not in [t["code"] for t in backoffice.get("/api/tariffs").json()["tariffs"]]

    def test_only_the_back_office_changes_tariffs(self, anyone: httpx.Client, world: World) -> None:
        customer = world.known_customer()
        for method, path in (("POST", "/api/tariffs"), ("PUT", "/api/tariffs/x/rates"), ("POST", "/api/prices")):
            answers(anyone.request(method, path, json={}), 401, {"error": "authentication required"})
            wrong = anyone.request(method, path, json={}, headers={"X-Api-Key": "wrong"})
            answers(wrong, 401, {"error": "invalid api key"})
            answers(customer.client.request(method, path, json={}), 403, {"error": "forbidden"})


class TestPrices:
    def test_prices_are_listed_by_hour_with_the_extremes_of_each_day(
        self, backoffice: httpx.Client, anyone: httpx.Client
    ) -> None:
        where = area()
        batch = hours("2024-05-02", {1: "7", 0: "-12.34"}) + hours("2024-05-03", {5: 80.5})
        posted = backoffice.post("/api/prices", json={"area": where, "source": "test", "prices": batch})
        answers(posted, 200, {"inserted": 3, "unchanged": 0, "updated": 0})
        got = anyone.get("/api/prices", params={"area": where, "from": "2024-05-02", "to": "2024-05-04"})
        expected = {
            "area": where,
            "prices": [
                {"ts": "2024-05-02T00:00:00", "hour_flag": "N", "eur_mwh": "-12.34", "source": "test"},
                {"ts": "2024-05-02T01:00:00", "hour_flag": "N", "eur_mwh": "7.00", "source": "test"},
                {"ts": "2024-05-03T05:00:00", "hour_flag": "N", "eur_mwh": "80.50", "source": "test"},
            ],
            "days": [
                {"day": "2024-05-02", "min_eur_mwh": "-12.34", "max_eur_mwh": "7.00", "hours": 2},
                {"day": "2024-05-03", "min_eur_mwh": "80.50", "max_eur_mwh": "80.50", "hours": 1},
            ],
        }
        answers(got, 200, expected)

    def test_the_last_day_is_not_included(self, backoffice: httpx.Client) -> None:
        where = area()
        batch = hours("2024-05-02", {23: "1"}) + hours("2024-05-03", {0: "2"})
        backoffice.post("/api/prices", json={"area": where, "source": "test", "prices": batch})
        got = backoffice.get("/api/prices", params={"area": where, "from": "2024-05-02", "to": "2024-05-03"}).json()
        assert [p["ts"] for p in got["prices"]] == ["2024-05-02T23:00:00"]
        assert [d["day"] for d in got["days"]] == ["2024-05-02"]

    def test_an_area_without_prices_is_empty(self, anyone: httpx.Client) -> None:
        where = area()
        got = anyone.get("/api/prices", params={"area": where, "from": "2024-05-02", "to": "2024-05-03"})
        answers(got, 200, {"area": where, "prices": [], "days": []})

    def test_posting_again_counts_what_changed_and_what_did_not(self, backoffice: httpx.Client) -> None:
        where = area()

        def post(amounts: dict[int, str]) -> httpx.Response:
            batch = hours("2024-05-02", amounts)
            return backoffice.post("/api/prices", json={"area": where, "source": "test", "prices": batch})

        answers(post({0: "1", 1: "2"}), 200, {"inserted": 2, "updated": 0, "unchanged": 0})
        answers(post({0: "1", 1: "2"}), 200, {"inserted": 0, "updated": 0, "unchanged": 2})
        answers(post({0: "9", 1: "2.00", 2: "-3"}), 200, {"inserted": 1, "updated": 1, "unchanged": 1})
        day = {"area": where, "from": "2024-05-02", "to": "2024-05-03"}
        expected = [{"day": "2024-05-02", "min_eur_mwh": "-3.00", "max_eur_mwh": "9.00", "hours": 3}]
        assert backoffice.get("/api/prices", params=day).json()["days"] == expected

    def test_the_repeated_hour_of_autumn_is_two_prices(self, backoffice: httpx.Client) -> None:
        where = area()
        ts = f"{AUTUMN}T02:00:00"
        batch = [{"ts": ts, "hour_flag": flag, "eur_mwh": amount} for flag, amount in (("B", "2"), ("A", "1"))]
        batch += hours(AUTUMN, {1: "0", 3: "3"})
        posted = backoffice.post("/api/prices", json={"area": where, "source": "test", "prices": batch})
        answers(posted, 200, {"inserted": 4, "updated": 0, "unchanged": 0})
        day = {"area": where, "from": AUTUMN, "to": "2024-10-28"}
        got = formatted(backoffice.get("/api/prices", params=day))
        listed = [(p["ts"][11:13], p["hour_flag"], p["eur_mwh"]) for p in got["prices"]]
        assert listed == [("01", "N", "0.00"), ("02", "A", "1.00"), ("02", "B", "2.00"), ("03", "N", "3.00")]
        assert got["days"][0]["hours"] == 4

    @pytest.mark.parametrize(
        "bad",
        [
            {"ts": f"{SPRING}T02:00:00"},
            {"ts": f"{AUTUMN}T02:00:00"},
            {"ts": f"{AUTUMN}T02:00:00", "hour_flag": "N"},
            {"ts": f"{AUTUMN}T03:00:00", "hour_flag": "A"},
            {"ts": "2024-05-02T00:30:00"},
            {"ts": "2024-05-02T01:00:00", "hour_flag": "C"},
            {"ts": "2024-05-02T00:00:00"},
            {"ts": "2024-05-02T01:00:00", "eur_mwh": "1.005"},
            {"ts": "2024-05-02T01:00:00", "eur_mwh": "1000000"},
        ],
        ids=["skipped", "ambiguous", "ambiguous-N", "flagged", "half-hour", "unknown-flag", "twice", "scale", "range"],
    )
    def test_one_bad_hour_refuses_the_whole_batch(self, backoffice: httpx.Client, bad: dict[str, str]) -> None:
        where = area()
        batch = [*hours("2024-05-02", {0: "1"}), {"eur_mwh": "1", **bad}]
        refused(backoffice.post("/api/prices", json={"area": where, "source": "test", "prices": batch}), 422)
        year = {"area": where, "from": "2024-01-01", "to": "2025-01-01"}
        answers(backoffice.get("/api/prices", params=year), 200, {"area": where, "prices": [], "days": []})

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"area": None}, 400),
            ({"area": "far away"}, 422),
            ({"area": "x" * 9}, 422),
            ({"source": ["x"]}, 400),
            ({"prices": {}}, 400),
            ({"prices": []}, 422),
            ({"prices": [{"ts": "2024-05-02T00:00:00"}]}, 400),
            ({"prices": [{"ts": "yesterday", "eur_mwh": "1"}]}, 400),
            ({"prices": [{"ts": "2024-05-02T00:00:00", "eur_mwh": "cheap"}]}, 400),
            ({"prices": [{"ts": "2024-05-02T00:00:00", "eur_mwh": True}]}, 400),
        ],
        ids=str,
    )
    def test_a_bad_batch_is_refused(self, backoffice: httpx.Client, change: dict[str, object], status: int) -> None:
        good = {"area": area(), "source": "test", "prices": hours("2024-05-02", {0: "1"})}
        refused(backoffice.post("/api/prices", json={**good, **change}), status)

    def test_overlapping_batches_at_once_all_pass(self, backoffice: httpx.Client) -> None:
        where = area()
        batch = [item for day in ("2024-05-02", "2024-05-03") for item in hours(day, dict.fromkeys(range(24), "1"))]

        def post(number: int) -> int:
            mine = [{**item, "eur_mwh": number} for item in batch]
            mine = mine if number % 2 else mine[::-1]
            return backoffice.post("/api/prices", json={"area": where, "source": "t", "prices": mine}).status_code

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(post, range(12))) == {200}
        got = backoffice.get("/api/prices", params={"area": where, "from": "2024-05-02", "to": "2024-05-04"}).json()
        assert len({p["eur_mwh"] for p in got["prices"]}) == 1
        assert [d["hours"] for d in got["days"]] == [24, 24]
        assert {d["max_eur_mwh"] for d in got["days"]} == {p["eur_mwh"] for p in got["prices"]}

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"prices": NaN}', b"[" * 100_000])
    def test_what_is_no_json_object_is_refused(self, backoffice: httpx.Client, body: bytes) -> None:
        refused(backoffice.post("/api/prices", content=body, headers={"Content-Type": "application/json"}), 400)

    def test_more_than_ten_thousand_prices_are_refused(self, backoffice: httpx.Client) -> None:
        item = {"ts": "2024-05-02T00:00:00", "eur_mwh": "1"}
        refused(backoffice.post("/api/prices", json={"area": area(), "source": "t", "prices": [item] * 10_001}), 422)

    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"area": "NL"},
            {"area": "NL", "from": "2024-01-01"},
            {"area": "NL", "from": "2024-01-01", "to": "soon"},
            {"area": "NL", "from": "2024-02-30", "to": "2024-03-02"},
            {"area": "NL", "from": "2024-01-02", "to": "2024-01-02"},
            {"area": "NL", "from": "2024-01-01", "to": "2025-01-02"},
            {"area": "N L", "from": "2024-01-01", "to": "2024-01-02"},
        ],
        ids=str,
    )
    def test_a_bad_query_is_refused(self, anyone: httpx.Client, query: dict[str, str]) -> None:
        refused(anyone.get("/api/prices", params=query), 400)

    def test_a_leap_year_fits_in_one_query(self, anyone: httpx.Client) -> None:
        year = {"area": area(), "from": "2024-01-01", "to": "2025-01-01"}
        assert anyone.get("/api/prices", params=year).status_code == 200


class TestQuotes:
    def test_a_fixed_quote_costs_the_mean_rate_of_the_day_plus_vat(
        self, backoffice: httpx.Client, world: World
    ) -> None:
        customer, tariff = world.customer(), world.tariff()
        wanted = {"tariff_code": tariff["code"], "kwh": "120", "customer_id": customer.id}
        made = eventually(lambda: backoffice.post("/api/quotes", json=wanted), 201)
        quote = formatted(made, 201)
        assert LOCAL_TIME.fullmatch(quote["created"])
        mean = (8 * Fraction("0.2") + 16 * Fraction("0.3")) / 24
        assert quote == {
            "id": quote["id"],
            "client_ref": None,
            "customer_id": customer.id,
            "tariff_code": tariff["code"],
            "kwh": "120.000",
            "amount_cents": half_up_cents(120 * mean * Fraction("1.21")),
            "status": "O",
            "created": quote["created"],
        }
        answers(backoffice.get(f"/api/quotes/{quote['id']}"), 200, quote)

    @pytest.mark.parametrize(("kwh", "cents"), [("0.001", 0), ("0.005", 1), ("0.004", 0), (1.5, 150), (7, 700)])
    def test_amounts_are_rounded_half_up_to_cents(
        self, backoffice: httpx.Client, world: World, kwh: object, cents: int
    ) -> None:
        customer = world.customer()
        tariff = world.tariff(vat_pct="0", rates=[{"hour_from": 0, "hour_to": 24, "price_kwh": "1"}])
        wanted = {"tariff_code": tariff["code"], "kwh": kwh, "customer_id": customer.id}
        made = eventually(lambda: backoffice.post("/api/quotes", json=wanted), 201)
        assert made.json()["amount_cents"] == cents

    def test_a_dynamic_quote_costs_the_mean_price_of_the_newest_day_plus_vat(
        self, backoffice: httpx.Client, world: World
    ) -> None:
        prices = newest_day(backoffice)
        customer, tariff = world.customer(), world.tariff(kind="D", rates=[])
        wanted = {"tariff_code": tariff["code"], "kwh": "1000", "customer_id": customer.id}
        made = eventually(lambda: backoffice.post("/api/quotes", json=wanted), 201)
        mean = Fraction(sum(prices)) / len(prices)
        assert made.json()["amount_cents"] == half_up_cents(1000 * mean / 1000 * Fraction("1.21"))

    def test_a_repeated_key_gives_the_first_quote(self, backoffice: httpx.Client, world: World) -> None:
        customer, tariff = world.customer(), world.tariff()
        wanted = {"tariff_code": tariff["code"], "kwh": "10", "customer_id": customer.id}
        key = {"Idempotency-Key": unique("q")}
        first = formatted(eventually(lambda: backoffice.post("/api/quotes", json=wanted, headers=key), 201), 201)
        assert first["client_ref"] == key["Idempotency-Key"]
        flat = [{"hour_from": 0, "hour_to": 24, "price_kwh": "9"}]
        backoffice.put(f"/api/tariffs/{tariff['code']}/rates", json={"rates": flat})
        answers(backoffice.post("/api/quotes", json={**wanted, "kwh": 10.0}, headers=key), 200, first)

    def test_a_key_is_not_for_another_quote(self, backoffice: httpx.Client, world: World) -> None:
        customer, tariff = world.customer(), world.tariff()
        wanted = {"tariff_code": tariff["code"], "kwh": "10", "customer_id": customer.id}
        key = {"Idempotency-Key": unique("q")}
        eventually(lambda: backoffice.post("/api/quotes", json=wanted, headers=key), 201)
        other = backoffice.post("/api/quotes", json={**wanted, "kwh": "11"}, headers=key)
        answers(other, 409, {"error": "idempotency key was used for another quote"})

    def test_one_key_from_many_at_once_makes_one_quote(self, backoffice: httpx.Client, world: World) -> None:
        customer, tariff = world.customer(), world.tariff()
        wanted = {"tariff_code": tariff["code"], "kwh": "10", "customer_id": customer.id}
        eventually(lambda: backoffice.post("/api/quotes", json=wanted), 201)
        key = {"Idempotency-Key": unique("q")}
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: backoffice.post("/api/quotes", json=wanted, headers=key), range(16)))
        assert sorted(r.status_code for r in got) == [200] * 15 + [201]
        assert len({r.content for r in got}) == 1

    @pytest.mark.parametrize("key", ["", "x" * 65, "two words"])
    def test_a_bad_key_is_refused(self, backoffice: httpx.Client, key: str) -> None:
        refused(backoffice.post("/api/quotes", json={}, headers={"Idempotency-Key": key}), 400)

    def test_a_customer_asks_and_sees_for_itself_only(
        self, backoffice: httpx.Client, anyone: httpx.Client, world: World
    ) -> None:
        one, other, tariff = world.customer(), world.customer(), world.tariff()
        wanted = {"tariff_code": tariff["code"], "kwh": "1"}
        made = formatted(eventually(lambda: one.client.post("/api/quotes", json=wanted), 201), 201)
        assert made["customer_id"] == one.id
        answers(one.client.get(f"/api/quotes/{made['id']}"), 200, made)
        answers(one.client.get("/api/quotes"), 200, {"quotes": [made], "next": None})
        answers(other.client.get(f"/api/quotes/{made['id']}"), 403, {"error": "forbidden"})
        answers(other.client.get("/api/quotes"), 200, {"quotes": [], "next": None})
        foreign = other.client.post("/api/quotes", json={**wanted, "customer_id": one.id})
        answers(foreign, 403, {"error": "forbidden"})
        for response in (
            anyone.get(f"/api/quotes/{made['id']}"),
            anyone.get("/api/quotes"),
            anyone.post("/api/quotes", json=wanted),
            anyone.get("/api/quotes", headers={"Cookie": "session=eyJjdXN0b21lcl9pZCI6MX0.aaaaaa.forged"}),
        ):
            answers(response, 401, {"error": "authentication required"})

    def test_quotes_come_in_pages(self, world: World) -> None:
        customer, tariff = world.customer(), world.tariff()
        wanted = {"tariff_code": tariff["code"], "kwh": "1"}
        made = [eventually(lambda: customer.client.post("/api/quotes", json=wanted), 201).json() for _ in range(3)]
        page = formatted(customer.client.get("/api/quotes", params={"limit": 2}))
        assert page == {"quotes": made[:2], "next": made[1]["id"]}
        rest = customer.client.get("/api/quotes", params={"limit": 2, "after": page["next"]})
        answers(rest, 200, {"quotes": made[2:], "next": None})

    @pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after": -1}, {"after": "x"}])
    def test_a_bad_page_is_refused(self, backoffice: httpx.Client, query: dict[str, object]) -> None:
        refused(backoffice.get("/api/quotes", params=query), 400)

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"tariff_code": None}, 400),
            ({"tariff_code": 5}, 400),
            ({"kwh": None}, 400),
            ({"kwh": "much"}, 400),
            ({"kwh": []}, 400),
            ({"kwh": 0}, 422),
            ({"kwh": "-1"}, 422),
            ({"kwh": "1.0005"}, 422),
            ({"kwh": 1e300}, 422),
            ({"customer_id": None}, 400),
            ({"customer_id": "1"}, 400),
        ],
        ids=str,
    )
    def test_a_bad_quote_is_refused(
        self, backoffice: httpx.Client, world: World, change: dict[str, object], status: int
    ) -> None:
        good = {"tariff_code": world.tariff()["code"], "kwh": "1", "customer_id": 1}
        refused(backoffice.post("/api/quotes", json={**good, **change}), status)

    @pytest.mark.parametrize("customer_id", [0, -1, 2**62, 2**70])
    def test_an_unknown_customer_is_not_found(self, backoffice: httpx.Client, world: World, customer_id: int) -> None:
        wanted = {"tariff_code": world.tariff()["code"], "kwh": "1", "customer_id": customer_id}
        answers(backoffice.post("/api/quotes", json=wanted), 404, {"error": "customer not found"})

    def test_an_unknown_tariff_is_not_found(self, backoffice: httpx.Client, world: World) -> None:
        wanted = {"tariff_code": unique(), "kwh": "1", "customer_id": world.known_customer().id}
        answers(backoffice.post("/api/quotes", json=wanted), 404, {"error": "tariff not found"})

    def test_a_fixed_tariff_without_rates_quotes_nothing(self, backoffice: httpx.Client, world: World) -> None:
        customer, tariff = world.known_customer(), world.tariff(rates=[])
        wanted = {"tariff_code": tariff["code"], "kwh": "1", "customer_id": customer.id}
        answers(
            eventually(lambda: backoffice.post("/api/quotes", json=wanted), 422),
            422,
            {"error": "tariff has no rates"},
        )

    @pytest.mark.parametrize("quote_id", [0, 2**62])
    def test_an_unknown_quote_is_not_found(self, backoffice: httpx.Client, quote_id: int) -> None:
        answers(backoffice.get(f"/api/quotes/{quote_id}"), 404, {"error": "quote not found"})


def newest_day(client: httpx.Client) -> list[Decimal]:
    """The prices of the newest stored day in NL, read, not replaced: others use them too. Made when there are none."""
    end = datetime.now(UTC).date() + timedelta(days=400)
    while end > date(2014, 1, 1):
        start = end - timedelta(days=366)
        query = {"area": "NL", "from": start.isoformat(), "to": end.isoformat()}
        got = client.get("/api/prices", params=query).json()
        if got["days"]:
            newest = got["days"][-1]["day"]
            return [Decimal(p["eur_mwh"]) for p in got["prices"] if p["ts"].startswith(newest)]
        end = start
    batch = hours("2024-01-02", {0: "10.01", 1: "-3.50", 2: "55.55"})
    answer = client.post("/api/prices", json={"area": "NL", "source": "test", "prices": batch})
    assert answer.status_code == 200
    return [Decimal(item["eur_mwh"]) for item in batch]
