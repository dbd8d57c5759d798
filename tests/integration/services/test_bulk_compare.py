"""Every open quote under every tariff, from a real database."""

from __future__ import annotations

import json
from decimal import Decimal

import psycopg
import pytest

from services.pricing.bulk import reading
from services.pricing.bulk.compare import Comparison, compare
from tests.fixtures import forked
from tests.integration.services.conftest import Client


async def quoted(client: Client, dsn: str) -> None:
    """Two tariffs and three quotes, of which one is expired; a third tariff has no rates."""
    for code, price in (("A", "0.20"), ("B", "0.30"), ("C", None)):
        rates = [] if price is None else [{"starts_hour": 0, "ends_hour": 24, "price_per_kwh": price}]
        tariff = {
            "code": code, "name": code, "kind": "fixed", "standing_charge": "0", "vat_rate": "0.21",
            "valid_from": "2024-01-01T00:00:00Z", "rates": rates,
        }  # fmt: skip
        assert (await client.post("/v2/tariffs", json=tariff)).status_code == 201
    for number, code in enumerate("AABB"):
        quote = {"tariff_code": code, "energy_kwh": f"{100 + number}.005", "customer_id": 1}
        assert (
            await client.post("/v2/quotes", json=quote, headers={"Idempotency-Key": str(number)})
        ).status_code == 201
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE quotes SET state = 'expired' WHERE client_ref = '3'")


async def test_quotes_are_compared_under_all_tariffs_and_nothing_is_written(
    back_office: Client, pricing_dsn: str
) -> None:
    await quoted(back_office, pricing_dsn)
    with psycopg.connect(pricing_dsn) as connection:
        connection.read_only = True
        seen = compare(connection)
    better = Decimal("102.005") * Decimal("0.1") * Decimal("1.21")
    assert seen == Comparison(
        quotes=3, calculations=6, moved=0, moved_cents=0, better=1, better_cents=round(better * 100),
        cheapest={"A": 3, "B": 0},
    )  # fmt: skip


async def test_a_changed_rate_moves_the_quotes_of_its_tariff(back_office: Client, pricing_dsn: str) -> None:
    await quoted(back_office, pricing_dsn)
    rates = {"rates": [{"starts_hour": 0, "ends_hour": 24, "price_per_kwh": "0.21"}]}
    assert (await back_office.put("/v2/tariffs/A/rates", json=rates)).status_code == 200
    with psycopg.connect(pricing_dsn) as connection:
        connection.execute("UPDATE tariffs SET state = 'inactive' WHERE code = 'B'")
        seen = compare(connection)
    assert (seen.moved, seen.unpriced, seen.calculations) == (2, 1, 3)


def test_an_empty_database_compares_nothing(pricing_dsn: str) -> None:
    with psycopg.connect(pricing_dsn) as connection:
        assert compare(connection) == Comparison()


async def test_quotes_come_in_blocks_and_none_is_lost(
    back_office: Client, pricing_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await quoted(back_office, pricing_dsn)
    with psycopg.connect(pricing_dsn) as connection:
        connection.execute(
            "INSERT INTO quotes (customer_id, tariff_code, energy_kwh, amount, state)"
            " SELECT 1, 'A', n, 0, 'open' FROM generate_series(1, 5000) n"
        )
        monkeypatch.setattr(reading, "BLOCK", 1000)
        blocks = list(reading.quotes(connection, reading.units(connection)))
    assert len(blocks) > 3
    assert (
        sum(int(block.energy_wh.sum()) for block in blocks) == 1000 * sum(range(1, 5001)) + 100_005 + 101_005 + 102_005
    )


async def test_the_command_tells_it_in_one_object(back_office: Client, pricing_dsn: str) -> None:
    await quoted(back_office, pricing_dsn)
    done = forked.run("services.pricing", "compare", env={"PRICING_DATABASE_URL": pricing_dsn})
    assert (done.returncode, json.loads(done.stdout)["quotes"]) == (0, 3), done.stderr


@pytest.mark.parametrize(
    ("env", "said"),
    [({}, "PRICING_DATABASE_URL"), ({"PRICING_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "refused")],
)
def test_a_comparison_that_cannot_start_says_why_in_one_line(env: dict[str, str], said: str) -> None:
    done = forked.run("services.pricing", "compare", env=env)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert said in done.stderr
