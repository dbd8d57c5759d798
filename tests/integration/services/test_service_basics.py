"""What every service does: health, metrics, request ids, limits, and a database that is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from litestar import Litestar, get
from litestar.testing import AsyncTestClient
from sqlalchemy import text

from banyan.servers import Postgres
from banyan.servers.ports import free_port
from services.chassis.application import Read, Work, create_app
from services.pricing.service import MIGRATIONS, pricing
from tests.fixtures.servers import create_database
from tests.integration.services.conftest import Client, settings
from tests.integration.services.processes import BACK_OFFICE, running_service

Rows = Callable[[str], list[tuple[object, ...]]]


async def test_a_migrated_service_is_live_and_ready(anyone: Client) -> None:
    assert (await anyone.get("/livez")).json() == {"status": "ok"}
    assert (await anyone.get("/readyz")).json() == {"status": "ok"}


async def test_a_service_is_not_ready_before_its_migration_and_says_what_to_do(service_postgres: Postgres) -> None:
    empty = settings("pricing", create_database(service_postgres))
    async with AsyncTestClient(pricing(empty)) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, (await client.get("/livez")).status_code) == (503, 200)
        assert "migrate" in answer.json()["detail"]


async def test_a_service_whose_database_is_away_is_live_not_ready_and_answers_503() -> None:
    away = settings("pricing", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    async with AsyncTestClient(pricing(away)) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        legacy, clean = await client.get("/api/tariffs"), await client.get("/v2/tariffs")
    assert (legacy.status_code, legacy.text) == (503, '{"error":"the database is not available"}\n')
    assert legacy.headers["Retry-After"] == "1"
    assert (clean.status_code, clean.headers["content-type"]) == (503, "application/problem+json")


async def test_a_request_id_is_taken_over_and_echoed(anyone: Client) -> None:
    answer = await anyone.get("/api/tariffs", headers={"X-Request-Id": "from-the-gateway"})
    assert answer.headers["X-Request-Id"] == "from-the-gateway"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129])
async def test_a_request_id_that_cannot_be_logged_is_replaced(anyone: Client, given: str) -> None:
    echoed = (await anyone.get("/livez", headers={"X-Request-Id": given})).headers["X-Request-Id"]
    assert len(echoed) == 32
    assert echoed != given


async def test_metrics_count_by_route_template_and_never_by_raw_path(anyone: Client) -> None:
    for number in range(3):
        await anyone.get(f"/api/quotes/{number}")
        await anyone.get(f"/no/such/{number}")
        await anyone.request("BREW", "/livez")
    text_ = (await anyone.get("/metrics")).text
    counted = [line for line in text_.splitlines() if line.startswith("banyan_service_requests_total")]
    assert any('route="/api/quotes/{quote_id}"' in line and line.endswith(" 3.0") for line in counted)
    assert any('route="unrouted"' in line and 'status="404"' in line for line in counted)
    assert "/no/such" not in text_
    assert "BREW" not in text_


async def test_an_unknown_path_is_not_found_in_the_dialect_of_its_api(anyone: Client) -> None:
    legacy, clean = await anyone.get("/api/none"), await anyone.get("/none")
    assert (legacy.status_code, legacy.text) == (404, '{"error":"not found"}\n')
    assert (clean.status_code, clean.headers["content-type"]) == (404, "application/problem+json")


async def test_a_body_above_the_limit_is_refused(back_office: Client, rows: Rows) -> None:
    body = b'{"area":"' + b"x" * (4 * 1024 * 1024) + b'"}'
    legacy = await back_office.post("/api/prices", content=body)
    assert (legacy.status_code, legacy.json()) == (413, {"error": "the body is too large"})
    assert (await back_office.put("/v2/prices", content=body)).status_code == 413


async def test_an_error_of_ours_is_500_and_tells_nothing(pricing_dsn: str) -> None:
    @get("/v2/broken")
    async def broken() -> None:
        raise RuntimeError("secret")

    async with AsyncTestClient(one_route(pricing_dsn, broken)) as client:
        answer = await client.get("/v2/broken")
    assert (answer.status_code, answer.json()["detail"]) == (500, "internal server error")
    assert "secret" not in answer.text


async def test_a_request_that_takes_too_long_ends_in_503_and_is_rolled_back(pricing_dsn: str, rows: Rows) -> None:
    @get("/v2/slow")
    async def slow(work: Work) -> None:
        async with work() as connection:
            await connection.execute(text("INSERT INTO customer_refs (id) VALUES (77)"))
            await asyncio.Event().wait()

    async with AsyncTestClient(one_route(pricing_dsn, slow, seconds=0.2)) as client:
        answer = await client.get("/v2/slow")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert (await client.get("/readyz")).status_code == 200
    assert rows("SELECT id FROM customer_refs WHERE id = 77") == []


async def test_a_statement_that_takes_too_long_is_ended_by_the_database(pricing_dsn: str) -> None:
    @get("/v2/slow")
    async def slow(read: Read) -> None:
        async with read() as connection:
            await connection.execute(text("SET statement_timeout = 50"))
            await connection.execute(text("SELECT pg_sleep(30)"))

    async with AsyncTestClient(one_route(pricing_dsn, slow)) as client:
        assert (await client.get("/v2/slow")).status_code == 503


async def test_when_all_connections_are_busy_a_request_waits_a_while_and_is_refused(pricing_dsn: str) -> None:
    inside, leave = asyncio.Event(), asyncio.Event()

    @get("/v2/hold")
    async def hold(work: Work) -> None:
        async with work():
            inside.set()
            await leave.wait()

    app = create_app(settings("pricing", pricing_dsn, pool_size=1), [hold], migrations=MIGRATIONS, title="t")
    transport = httpx.ASGITransport(app=app)  # in this event loop, which the events belong to
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        held = asyncio.create_task(client.get("/v2/hold"))
        await inside.wait()
        assert (await client.get("/v2/hold")).status_code == 503
        leave.set()
        assert (await held).status_code == 200
    await app.state.engine.dispose()


def one_route(dsn: str, handler: object, seconds: float = 10.0) -> Litestar:
    return create_app(settings("pricing", dsn), [handler], migrations=MIGRATIONS, title="t", seconds=seconds)  # type: ignore[list-item]


def test_granian_serves_it_and_its_log_is_json_with_the_request_id(pricing_dsn: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_service("pricing", pricing_dsn, log) as url:
        httpx.get(f"{url}/api/tariffs", headers={"X-Request-Id": "abc", **BACK_OFFICE})
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    served = [line for line in lines if line.get("request_id") == "abc"]
    assert [(line["event"], line["route"], line["status"]) for line in served] == [("request", "/api/tariffs", 200)]
    assert served[0]["component"] == "pricing"
