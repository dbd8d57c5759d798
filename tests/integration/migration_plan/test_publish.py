"""A plan that changes while the gateway runs: publish it, and never learn after a switch that it is refused."""

from __future__ import annotations

import json

import httpx
import pytest

from migration_plan import verbs
from migration_plan.errors import Refused
from tests.integration.migration_plan.test_commands import banyan, step
from tests.integration.migration_plan.toy import Toys, until

AUTH = """
facade: {origin: "https://toys.example"}
auth:
  issuers: [{issuer: "https://login.example", jwks: LOGIN_JWKS_URL, audiences: [toys]}]
  sessions: [{credential: "cookie:session", upstream: legacy, path: /session}]
"""


def callers_required(toys: Toys, jwks: str) -> None:
    path = toys.folder / "plan.yaml"
    text = path.read_text().replace("path: /toys, kind: write}", "path: /toys, kind: write, auth: required}")
    path.write_text(text + AUTH)
    toys.env["LOGIN_JWKS_URL"] = jwks


def test_a_published_plan_is_live_and_moves_nothing_and_again_there_is_nothing_to_do(toys: Toys) -> None:
    step(toys, "advance")
    with toys.context() as context:
        before = context.admin().table()
    callers_required(toys, "http://127.0.0.1:1/jwks")
    looked = json.loads(banyan(toys, "plan", "publish", "--dry-run", "--json").stdout)
    assert (looked["changed"], looked["parts"]) == (False, [f"domain {toys.domain}", "facade", "auth"])
    assert banyan(toys, "plan", "publish").returncode == 2, "nobody could be asked"
    done = banyan(toys, "plan", "publish", "--yes", "--json", "--reason", "callers")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"]
    with toys.context() as context:
        after, audit = context.admin().table(), context.admin().audit()[-1]
    assert after.auth is not None
    assert after.facade is not None
    assert after.domains[toys.domain].waves == before.domains[toys.domain].waves
    assert audit["reason"] == "plan publish: callers"
    url = f"{toys.env['BANYAN_GATEWAY_URL']}/toys"
    until(lambda: httpx.post(url, json={"name": "a"}).status_code == 401, "the gateway to ask who calls")
    again = json.loads(banyan(toys, "plan", "publish", "--yes", "--json").stdout)
    assert (again["changed"], again["version"]) == (False, after.version)


def test_a_switch_whose_routes_the_gateway_would_refuse_is_refused_before_the_fence(toys: Toys) -> None:
    for _ in range(3):
        step(toys, "advance")
    callers_required(toys, "not-a-url")
    with toys.context() as context:
        version = context.admin().table().version
        with pytest.raises(Refused, match=r"auth.issuers\[0\].jwks"):
            verbs.switch(context, toys.domain, forced=["gateway"])
        assert "jwks" in " ".join(verbs.switch(context, toys.domain, dry_run=True).refusal)
        assert context.admin().table().version == version, "not even a hold"
    assert banyan(toys, "plan", "publish", "--yes").returncode == 1
    toys.env["LOGIN_JWKS_URL"] = "http://127.0.0.1:1/jwks"
    assert step(toys, "switch")["owner"] == "service"
    with toys.context() as context:
        assert context.admin().table().auth is not None
