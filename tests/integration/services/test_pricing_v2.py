"""The clean pricing API: UTC, decimals as strings, cursors, idempotency keys, problem+json."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.services.conftest import Client
from tests.integration.services.test_guarded_writes import TARIFF
from tests.integration.services.test_same_answers import session_of

Rows = Callable[[str], list[tuple[object, ...]]]

NEW = {
    "code": "V2", "name": "Clean", "kind": "fixed", "standing_charge": "0.31", "vat_rate": "0.2100",
    "valid_from": "2024-07-01T00:00:00+02:00", "rates": [{"starts_hour": 0, "ends_hour": 24, "price_per_kwh": "0.25"}],
}  # fmt: skip


def batch(start: datetime, hours: int, price: str = "1.50") -> dict[str, object]:
    prices = [{"starts_at": (start + timedelta(hours=n)).isoformat(), "price": price} for n in range(hours)]
    return {"area": "NL", "source": "test", "prices": prices}


def problem(answer: object, status: int) -> dict[str, object]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text  # type: ignore[attr-defined]
    body: dict[str, object] = answer.json()  # type: ignore[attr-defined]
    assert (body["status"], bool(body["title"]), bool(body["detail"])) == (status, True, True)
    return body


async def test_a_tariff_made_here_is_the_same_tariff_in_both_apis(back_office: Client) -> None:
    made = await back_office.post("/v2/tariffs", json=NEW)
    assert made.status_code == 201, made.text
    assert made.json()["valid_from"] == "2024-06-30T22:00:00Z"
    assert (await back_office.get("/v2/tariffs/V2")).json()["standing_charge"] == "0.31"
    (legacy,) = (await back_office.get("/api/tariffs")).json()["tariffs"]
    assert legacy == {
        "code": "V2", "name": "Clean", "kind": "F", "status": "A", "standing_cents": 31, "vat_pct": "21.00",
        "valid_from": "2024-07-01T00:00:00", "rates": [{"hour_from": 0, "hour_to": 24, "price_kwh": "0.25000"}],
    }  # fmt: skip
    problem(await back_office.post("/v2/tariffs", json=NEW), 409)


async def test_new_rates_replace_the_old_ones(back_office: Client) -> None:
    await back_office.post("/v2/tariffs", json=NEW)
    rates = [
        {"starts_hour": 12, "ends_hour": 24, "price_per_kwh": "-0.01"},
        {"starts_hour": 0, "ends_hour": 12, "price_per_kwh": "1"},
    ]
    put = await back_office.put("/v2/tariffs/V2/rates", json={"rates": rates})
    assert [rate["starts_hour"] for rate in put.json()["rates"]] == [0, 12]
    problem(await back_office.put("/v2/tariffs/V2/rates", json={"rates": rates[:1]}), 422)
    problem(await back_office.put("/v2/tariffs/none/rates", json={"rates": rates}), 404)
    assert (await back_office.get("/v2/tariffs/V2")).json() == put.json() | {
        "rates": [{**rate, "price_per_kwh": f"{float(rate['price_per_kwh']):.5f}"} for rate in rates[::-1]]
    }


async def test_pages_of_tariffs_hold_each_one_exactly_once(back_office: Client) -> None:
    codes = sorted(f"T{n:02}" for n in range(11))
    for code in codes[::-1]:
        assert (await back_office.post("/v2/tariffs", json={**NEW, "code": code})).status_code == 201
    for limit in (1, 2, 5, 10, 11, 12):
        pages = await walk(back_office, "/v2/tariffs", {"limit": limit})
        assert [tariff["code"] for page in pages for tariff in page] == codes
        assert all(len(page) == limit for page in pages[:-1])


async def test_prices_are_a_half_open_range_of_instants(back_office: Client) -> None:
    start = datetime(2024, 10, 26, 22, tzinfo=UTC)
    assert (await back_office.put("/v2/prices", json=batch(start, 25))).json() == {
        "inserted": 25, "updated": 0, "unchanged": 0,
    }  # fmt: skip
    query = {"area": "NL", "from": "2024-10-27T00:00:00+02:00", "to": "2024-10-28T00:00:00+01:00"}
    got = (await back_office.get("/v2/prices", params=query)).json()
    assert [price["starts_at"] for price in got["items"][:1] + got["items"][-1:]] == [
        "2024-10-26T22:00:00Z", "2024-10-27T22:00:00Z",
    ]  # fmt: skip
    assert (len(got["items"]), got["next_cursor"]) == (25, None)
    legacy = (await back_office.get("/api/prices?area=NL&from=2024-10-27&to=2024-10-28")).json()
    assert legacy["days"] == [{"day": "2024-10-27", "hours": 25, "max_eur_mwh": "1.50", "min_eur_mwh": "1.50"}]


async def test_putting_a_batch_again_changes_nothing(back_office: Client, rows: Rows) -> None:
    start = datetime(2024, 5, 1, tzinfo=UTC)
    await back_office.put("/v2/prices", json=batch(start, 3))
    kept = rows("SELECT * FROM market_prices ORDER BY id")
    again = await back_office.put("/v2/prices", json=batch(start, 3))
    assert again.json() == {"inserted": 0, "updated": 0, "unchanged": 3}
    assert rows("SELECT * FROM market_prices ORDER BY id") == kept
    changed = await back_office.put("/v2/prices", json=batch(start, 4, "2.00"))
    assert changed.json() == {"inserted": 1, "updated": 3, "unchanged": 0}


async def test_pages_of_prices_hold_each_one_exactly_once_while_others_are_added(back_office: Client) -> None:
    start = datetime(2024, 3, 30, 23, tzinfo=UTC)
    await back_office.put("/v2/prices", json=batch(start, 23))
    query = {"area": "NL", "from": "2024-03-30T23:00:00Z", "to": "2024-04-01T00:00:00Z"}
    wanted = [(start + timedelta(hours=n)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in range(23)]
    for limit in (1, 7, 22, 23, 24):
        pages = await walk(back_office, "/v2/prices", {**query, "limit": limit})
        assert [price["starts_at"] for page in pages for price in page] == wanted
    first = (await back_office.get("/v2/prices", params={**query, "limit": 10})).json()
    await back_office.put("/v2/prices", json=batch(start - timedelta(hours=5), 5))
    rest = (await back_office.get("/v2/prices", params={**query, "cursor": first["next_cursor"]})).json()
    assert [price["starts_at"] for price in first["items"] + rest["items"]] == wanted


async def walk(client: Client, path: str, query: dict[str, object]) -> list[list[dict[str, object]]]:
    pages, cursor = [], None
    while True:
        answer = (await client.get(path, params=query | ({"cursor": cursor} if cursor else {}))).json()
        pages.append(answer["items"])
        cursor = answer["next_cursor"]
        if cursor is None:
            return pages
        assert len(pages) < 100


async def test_a_key_gives_the_first_quote_again_through_either_api(back_office: Client) -> None:
    await back_office.post("/api/tariffs", json=TARIFF)
    wish = {"tariff_code": "T", "energy_kwh": "120", "customer_id": 1}
    key = {"Idempotency-Key": "k"}
    first = await back_office.post("/v2/quotes", json=wish, headers=key)
    assert (first.status_code, first.json()["amount"]) == (201, "36.30")
    again = await back_office.post("/v2/quotes", json=wish, headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    legacy = await back_office.post("/api/quotes", json={"tariff_code": "T", "kwh": 120, "customer_id": 1}, headers=key)
    assert (legacy.status_code, legacy.json()["id"], legacy.json()["amount_cents"]) == (200, first.json()["id"], 3630)
    problem(await back_office.post("/v2/quotes", json={**wish, "energy_kwh": "121"}, headers=key), 422)
    problem(await back_office.post("/v2/quotes", json=wish), 400)


async def test_one_key_from_many_at_once_makes_one_quote(back_office: Client, rows: Rows) -> None:
    await back_office.post("/api/tariffs", json=TARIFF)
    wish = {"tariff_code": "T", "energy_kwh": "1", "customer_id": 1}
    answers = await asyncio.gather(
        *(back_office.post("/v2/quotes", json=wish, headers={"Idempotency-Key": "k"}) for _ in range(12))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert rows("SELECT count(*) FROM quotes") == [(1,)]


async def test_a_customer_quotes_for_itself_and_sees_its_own(back_office: Client, anyone: Client) -> None:
    await back_office.post("/api/tariffs", json=TARIFF)
    wish = {"tariff_code": "T", "energy_kwh": "1"}
    mine = await anyone.post("/v2/quotes", json=wish, headers={**session_of(1), "Idempotency-Key": "k"})
    assert (mine.status_code, mine.json()["customer_id"]) == (201, 1)
    path = f"/v2/quotes/{mine.json()['id']}"
    assert (await anyone.get(path, headers=session_of(1))).json() == mine.json()
    problem(await anyone.get(path, headers=session_of(2)), 404)
    problem(await anyone.get(path), 401)
    assert (await anyone.get("/v2/quotes", headers=session_of(2))).json()["items"] == []
    foreign = {**wish, "customer_id": 1}
    problem(await anyone.post("/v2/quotes", json=foreign, headers={**session_of(2), "Idempotency-Key": "x"}), 403)


async def test_ids_start_where_the_monoliths_never_come(back_office: Client, rows: Rows) -> None:
    await back_office.post("/api/tariffs", json=TARIFF)
    await back_office.put("/v2/prices", json=batch(datetime(2024, 5, 1, tzinfo=UTC), 1))
    await back_office.post("/api/quotes", json={"tariff_code": "T", "kwh": 1, "customer_id": 1})
    for table in ("tariffs", "tariff_rates", "market_prices", "quotes"):
        assert rows(f"SELECT min(id) >= 1000000000 FROM {table}") == [(True,)]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"code": "with space"}, 400),
        ({"code": "x" * 21}, 400),
        ({"kind": "F"}, 400),
        ({"vat_rate": "a lot"}, 400),
        ({"vat_rate": "NaN"}, 422),
        ({"vat_rate": "0.00001"}, 422),
        ({"vat_rate": "-0.1"}, 422),
        ({"standing_charge": "1e30"}, 422),
        ({"valid_from": "2024-01-01T00:00:00"}, 400),
        ({"rates": [{"starts_hour": 0, "ends_hour": 23, "price_per_kwh": "1"}]}, 422),
        ({"rates": [{"starts_hour": 0, "ends_hour": 25, "price_per_kwh": "1"}]}, 400),
        ({"unknown": 1}, 400),
    ],
    ids=str,
)
async def test_a_bad_tariff_is_refused(back_office: Client, rows: Rows, change: dict[str, object], status: int) -> None:
    problem(await back_office.post("/v2/tariffs", json={**NEW, **change}), status)
    assert rows("SELECT * FROM tariffs") == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"prices": []}, 400),
        ({"area": "N L"}, 400),
        ({"prices": [{"starts_at": "2024-05-01T00:00:00", "price": "1"}]}, 400),
        ({"prices": [{"starts_at": "2024-05-01T00:30:00Z", "price": "1"}]}, 422),
        ({"prices": [{"starts_at": "2024-05-01T00:00:00Z", "price": "1.005"}]}, 422),
        ({"prices": [{"starts_at": "2024-05-01T00:00:00Z", "price": "Infinity"}]}, 422),
        (
            {
                "prices": [
                    {"starts_at": "2024-05-01T00:00:00Z", "price": "1"},
                    {"starts_at": "2024-05-01T02:00:00+02:00", "price": "1"},
                ]
            },
            422,
        ),
    ],
    ids=["none", "area", "no-offset", "half-hour", "scale", "infinite", "twice"],
)
async def test_a_bad_batch_is_refused_as_a_whole(
    back_office: Client, rows: Rows, change: dict[str, object], status: int
) -> None:
    good = batch(datetime(2024, 5, 2, tzinfo=UTC), 1)
    if isinstance(change.get("prices"), list):
        change = {"prices": [*good["prices"], *change["prices"]] if change["prices"] else []}  # type: ignore[misc]
    problem(await back_office.put("/v2/prices", json={**good, **change}), status)
    assert rows("SELECT * FROM market_prices") == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2024-05-01T00:00:00Z", "to": "2024-05-02T00:00:00Z"},
        {"area": "NL", "from": "yesterday", "to": "2024-05-02T00:00:00Z"},
        {"area": "NL", "from": "2024-05-01T00:00:00", "to": "2024-05-02T00:00:00Z"},
        {"area": "NL", "from": "2024-05-02T00:00:00Z", "to": "2024-05-02T00:00:00Z"},
        {"area": "NL", "from": "2024-05-01T00:00:00Z", "to": "2024-05-02T00:00:00Z", "limit": "0"},
        {"area": "NL", "from": "2024-05-01T00:00:00Z", "to": "2024-05-02T00:00:00Z", "limit": "1001"},
        {"area": "NL", "from": "2024-05-01T00:00:00Z", "to": "2024-05-02T00:00:00Z", "cursor": "tampered"},
    ],
    ids=["no-area", "unreadable", "no-offset", "empty", "limit-0", "limit-1001", "cursor"],
)
async def test_a_bad_query_is_refused(anyone: Client, query: dict[str, str]) -> None:
    problem(await anyone.get("/v2/prices", params=query), 400)


async def test_a_stranger_is_refused_before_the_body_is_read(anyone: Client) -> None:
    for method, path in (
        ("POST", "/v2/tariffs"),
        ("PUT", "/v2/prices"),
        ("PUT", "/v2/tariffs/x/rates"),
        ("POST", "/v2/quotes"),
    ):
        problem(await anyone.request(method, path, content=b"not json"), 401)
        problem(await anyone.request(method, path, content=b"x", headers={"X-Api-Key": "wrong"}), 401)
    problem(await anyone.put("/v2/prices", content=b"x", headers=session_of(1)), 403)


async def test_malformed_json_is_a_problem(back_office: Client) -> None:
    for body in (b"", b"{", b"[]", b"\xff"):
        problem(await back_office.put("/v2/prices", content=body), 400)


async def test_the_openapi_document_describes_v2_and_leaves_the_monoliths_contract_out(anyone: Client) -> None:
    document = (await anyone.get("/schema")).json()
    assert set(document["paths"]) == {
        "/v2/tariffs", "/v2/tariffs/{code}", "/v2/tariffs/{code}/rates", "/v2/prices", "/v2/quotes",
        "/v2/quotes/{quote_id}",
    }  # fmt: skip
