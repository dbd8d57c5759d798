"""The facade's duties in a plan: what reaches the gateway, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.control.front import Auth, Facade, Issuer, Limit, Session, ShownCookie
from gateway.control.table import decode_table, encode_table
from migration_plan import plan as plans
from migration_plan.compile import compile_table
from migration_plan.errors import NotConfigured
from tests.unit.migration_plan.test_plan import MAPPING, TOY, problems

FRONT = """\
facade:
  origin: https://toys.example
  hosts: [old.internal]
  links: [application/json]
  cookies: {session: {path: /}}
auth:
  issuers:
    - {issuer: "https://login.example", jwks: LOGIN_JWKS_URL, audiences: [toys], headers: {x-customer-id: sub}}
  sessions:
    - {credential: "cookie:session", upstream: legacy, path: /session, subject: customer_id}
"""
LIMITED = ', limits: [{name: reads, rate: 5, burst: 10, key: ["jwt:sub", "header:x-client-id"]}], auth: required}'
URLS = {
    "OLD_URL": "http://127.0.0.1:1",
    "NEW_URL": "http://127.0.0.1:2",
    "LOGIN_JWKS_URL": "https://login.example/jwks",
}


def text(front: str = FRONT, operation: str = LIMITED) -> str:
    text = TOY.replace('["path:id"]}', f'["path:id"]{operation}', 1) + front
    return text.replace("health: /readyz}", "health: /readyz, cookies: [sid], identity: true}")


def test_the_facades_duties_reach_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        text().replace("    operations:\n", "    limits: [{name: all, rate: 0.5, burst: 9}]\n    operations:\n")
    )
    (tmp_path / "toys.yaml").write_text(MAPPING)
    plan = plans.load(tmp_path / "plan.yaml")
    table = compile_table(plan, {}, {}, 1, URLS)
    assert table.facade == Facade(
        "https://toys.example", ["old.internal"], ["application/json"], cookies={"session": ShownCookie("/")}
    )
    issuer = Issuer("https://login.example", "https://login.example/jwks", ["toys"], headers={"x-customer-id": "sub"})
    session = Session("cookie:session", "legacy", "/session", subject="customer_id")
    assert table.auth == Auth([issuer], [session])
    assert (table.upstreams["toys"].cookies, table.upstreams["toys"].identity) == (["sid"], True)
    operation = table.domains["toys"].operations[0]
    assert operation.limits == [Limit("reads", 5, 10, ["jwt:sub", "header:x-client-id"])]
    assert operation.auth == "required"
    assert table.domains["toys"].limits == [Limit("all", 0.5, 9)]
    assert decode_table(encode_table(table)) == table
    with pytest.raises(NotConfigured, match="LOGIN_JWKS_URL"):
        compile_table(plan, {}, {}, 1, {name: url for name, url in URLS.items() if "JWKS" not in name})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("https://toys.example", "https://toys.example/x", "plan.yaml:18: facade.origin: must be http(s)://host"),
        ("[old.internal]", "['http://old']", "plan.yaml:19: facade.hosts: 'http://old' is neither host nor host:port"),
        ("[application/json]", "[json]", "plan.yaml:20: facade.links: 'json' is no media type"),
        ("{path: /}", "{path: x}", "plan.yaml:21: facade.cookies.session.path: must be a path"),
        ("LOGIN_JWKS_URL", "https://x", "plan.yaml:24: auth.issuers[0].jwks: must be the variable"),
        ("[toys], headers", "[], headers", "plan.yaml:24: auth.issuers[0].audiences: names nobody"),
        ("x-customer-id", "cookie", "plan.yaml:24: auth.issuers[0].headers: 'cookie' is no header"),
        ("audiences:", "algorithms: [HS256], audiences:", "plan.yaml:24: auth.issuers[0].algorithms[0]: invalid enum"),
        ("upstream: legacy, path", "upstream: lgacy, path", "plan.yaml:26: auth.sessions[0].upstream: no upstream"),
        ("cookie:session", "session", "plan.yaml:26: auth.sessions[0].credential: 'session' is not cookie:NAME"),
        ("rate: 5", "rate: 0", "plan.yaml:15: domains.toys.operations[0].limits[0].rate: 0 is not within"),
        ("burst: 10", "burst: 0", "plan.yaml:15: domains.toys.operations[0].limits[0].burst: 0 is not within"),
        ("jwt:sub", "ip", "plan.yaml:15: domains.toys.operations[0].limits[0].key: 'ip' is not path:, query:"),
        ("jwt:sub", "path:no", "plan.yaml:15: domains.toys.operations[0].limits[0].key: 'path:no' names no parameter"),
        ("[sid]", "['a*b']", "plan.yaml:7: upstreams.toys.cookies: 'a*b' is no cookie's name"),
    ],
)
def test_a_breach_is_told_with_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in text()
    [problem] = problems(tmp_path, text().replace(old, new, 1))
    assert problem.lower().startswith(told.lower())


def test_who_asks_for_a_caller_has_to_say_who_they_are(tmp_path: Path) -> None:
    found = problems(tmp_path, text(front=""))
    assert len(found) == 2
    assert "needs an issuer in 'auth'" in found[0]
    assert "give 'auth' issuers or sessions" in found[1]


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, text().replace("hosts:", "host:"))
    assert problem.startswith("plan.yaml:19: unknown key 'host' in facade; known keys: origin, hosts, links")
