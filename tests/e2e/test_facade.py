"""What the shipped plan switches on: logins valid at either side, cookies kept to their side, limits nobody notices."""

from __future__ import annotations

import re

import httpx
import pytest

from legacy_monolith import seed
from tests.e2e.conftest import Stack
from tests.e2e.journey import at_service

LOGIN = {"email": "customer-0001@example.net", "password": seed.PASSWORD}


def session_lookups(stack: Stack) -> int:
    """How often the gateway asked the monolith whose session it was."""
    text = httpx.get(f"{stack.env['BANYAN_LEGACY_URL']}/metrics", timeout=5).text
    counts = re.findall(r'^\w+_count\{[^}]*endpoint="login.who"[^}]*\} (\S+)$', text, re.MULTILINE)
    return int(sum(map(float, counts)))


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_login_at_the_monolith_is_valid_at_the_service_by_the_gateways_word(stack: Stack):
    with httpx.Client(base_url=stack.gateway, timeout=10) as customer, at_service(stack, "pricing", under_load=False):
        before = session_lookups(stack)
        assert customer.post("/login", json=LOGIN).status_code == 200
        answer = customer.get("/api/quotes", headers={"Cookie": f"session={customer.cookies['session']}; spy=1"})
        assert answer.status_code == 200
        assert "side=service" in answer.headers["Banyan-Route"]
        assert session_lookups(stack) == before + 1
        assert customer.get("/api/quotes").status_code == 200
        assert session_lookups(stack) == before + 1, "the answer is kept"
        forged = httpx.get(f"{stack.gateway}/api/quotes", headers={"Banyan-Identity": "x.y.z"})
        assert forged.status_code == 401


@pytest.mark.e2e
def test_a_limit_is_told_and_far_away(stack: Stack):
    answer = httpx.get(f"{stack.gateway}/api/tariffs")
    assert answer.headers["RateLimit-Policy"] == '"clients";q=6000;w=2'
    assert 5000 < int(answer.headers["RateLimit"].partition("r=")[2].partition(";")[0]) <= 6000
