"""The monolith bills the same cents wherever pricing lives: reverse sync feeds the tables that billing reads."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_for
from tests.e2e.journey import at_service

MONTH = "2024-06"
FIXED = "VAST-2023"  # a seeded tariff: 0.28500 EUR a kWh round the clock


def invoices(client: httpx.Client) -> dict[int, int]:
    """Contract → total in cents, computed anew."""
    response = client.post("/api/billing/run", json={"month": MONTH, "dry_run": True}, timeout=60)
    assert response.status_code == 200, response.text
    return {invoice["contract_id"]: invoice["total_cents"] for invoice in response.json()["invoices"]}


def put_rates(client: httpx.Client, code: str, price: str) -> None:
    rates = [{"hour_from": 0, "hour_to": 24, "price_kwh": price}]
    assert client.put(f"/api/tariffs/{code}/rates", json={"rates": rates}).status_code == 200


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_invoices_are_equal_to_the_cent_before_during_and_after_the_move_and_follow_a_rate_of_the_service(stack: Stack):
    with stack.client() as client:
        before = invoices(client)
        assert before
        assert any(before.values())
        with at_service(stack, "pricing", under_load=False):
            assert invoices(client) == before
            put_rates(client, FIXED, "0.99000")
            wait_for(lambda: sum(invoices(client).values()) > sum(before.values()), "the new rate in the bills")
            put_rates(client, FIXED, "0.28500")
            wait_for(lambda: invoices(client) == before, "the old rate in the bills")
        assert invoices(client) == before
