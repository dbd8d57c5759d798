"""Tokens of an issuer: believed at both sides when they hold, refused when not; keys that change, an issuer away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.auth import jwks
from gateway.control import front_rules
from gateway.control.front import Auth, Issuer
from gateway.control.table import RouteTable
from gateway.settings import Settings
from tests.integration.gateway.logins import KEY, LoginServer, bearer, believe, caller
from tests.integration.gateway.stage import Stage, side, staged, until


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(assertion_key=KEY, state_dir=tmp_path) as made:
        yield made


@pytest.fixture
async def issuer() -> AsyncIterator[LoginServer]:
    made = await LoginServer.start()
    yield made
    await made.server.kill()


@pytest.mark.parametrize("kind", ["EC", "RSA"])
async def test_a_token_is_valid_at_either_side(stage: Stage, issuer: LoginServer, kind: str) -> None:
    issuer.new_key("one", kind)
    believe(stage, issuer=issuer, headers={"x-customer-id": "sub", "x-plan": "plan"})
    token = issuer.token(plan="green")
    assert (await stage.client.get("/items", headers=bearer(token))).status_code == 200
    stage.wave(phase="service", owner="service")
    assert side(await stage.client.get("/items", headers=bearer(token))) == "service"
    for seen, upstream in ((stage.legacy.seen[0], "legacy"), (stage.service.seen[0], "shop")):
        assert caller(seen, upstream) == ("customer", "7")
        assert (seen.headers["x-customer-id"], seen.headers["x-plan"]) == ("7", "green")
    with pytest.raises(jwt.InvalidAudienceError):
        caller(stage.service.seen[0], "legacy")  # the word to one side is not good at the other


async def test_of_two_tokens_neither_is_believed(stage: Stage, issuer: LoginServer) -> None:
    """The gateway might read the first one, and the server behind it the last."""
    believe(stage, issuer=issuer, headers={"x-customer-id": "sub"})
    line = f"Authorization: Bearer {issuer.token()}\r\n"
    for lines in (2 * line, line + "Authorization: Basic eDp5\r\n"):
        await stage.raw(f"GET /items HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n".encode())
        head = stage.legacy.seen[-1].head.lower()
        assert b"banyan-identity" not in head
        assert b"x-customer-id" not in head


async def test_nobody_outside_can_speak_in_our_name(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer, headers={"x-customer-id": "sub"})
    forged = {"Banyan-Identity": jwt.encode({"sub": "1"}, "guess" * 10), "X-Customer-Id": "1", "X_Customer_Id": "2"}
    await stage.client.get("/items", headers=forged)
    raw = stage.legacy.seen[0].head.lower()
    assert b"identity" not in raw
    assert b"customer" not in raw
    await stage.client.get("/items", headers={**forged, **bearer(issuer.token())})
    assert stage.legacy.seen[1].head.lower().count(b"x-customer-id") == 1
    assert stage.legacy.seen[1].headers["x-customer-id"] == "7"
    assert b"x_customer_id" not in stage.legacy.seen[1].head.lower()
    assert caller(stage.legacy.seen[1], "legacy") == ("customer", "7")
    disguised = await stage.raw(b"GET /items HTTP/1.1\r\nHost: x\r\nBanyan_Identity: x\r\n\r\n")
    assert disguised.startswith(b"HTTP/1.1 400 ")


async def test_a_claim_cannot_carry_more_than_a_value(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer, headers={"x-name": "name", "x-admin": "admin"})
    await stage.client.get("/items", headers=bearer(issuer.token(name="a\r\nX-Admin: 1", admin=True)))
    assert {"x-name", "x-admin"}.isdisjoint(stage.legacy.seen[0].headers)


async def test_tokens_that_do_not_hold_are_refused_here(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer)
    await until(lambda: issuer.fetched)
    now = int(time.time())
    public = (
        issuer.keys["one"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    other = ec.generate_private_key(ec.SECP256R1())
    good = issuer.token()
    head, payload, signature = good.split(".")
    bad = {
        "expired": issuer.token(exp=now - 60),
        "not yet": issuer.token(nbf=now + 60),
        "until a text": issuer.token(exp=str(now + 60)),
        "for ever": issuer.token(exp=None),
        "for somebody else": issuer.token(aud="bank"),
        "for nobody": issuer.token(aud=None),
        "without a subject": issuer.token(sub=None),
        "signed by another key": issuer.token(key=other),
        "unsigned": _by_hand("none", b""),
        "signed with what is public": _by_hand("HS256", public),
        "changed": f"{head}.{payload}.{signature[:-6]}AAAAAA",
    }
    for what, token in bad.items():
        answer = await stage.client.get("/items", headers=bearer(token))
        assert answer.status_code == 401, what
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert not stage.legacy.seen
    assert (await stage.client.get("/items", headers=bearer(good))).status_code == 200
    assert stage.event("unauthorized") == len(bad)


def _by_hand(algorithm: str, key: bytes) -> str:
    """RFC 8725 §2.1: unsigned, or a public key used as a shared secret. PyJWT refuses to make them."""

    def encoded(what: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(what).encode()).rstrip(b"=")

    claims = {"iss": "https://login.example", "aud": "shop", "sub": "7", "exp": int(time.time()) + 60}
    signed = encoded({"alg": algorithm, "typ": "JWT", "kid": "one"}) + b"." + encoded(claims)
    mac = hmac.new(key, signed, hashlib.sha256).digest() if key else b""
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


async def test_what_is_no_token_of_ours_passes_as_it_came(stage: Stage, issuer: LoginServer) -> None:
    """Devices have tokens of their own; other issuers are somebody else's matter."""
    believe(stage, issuer=issuer)
    for token in ("a-devices-token", issuer.token(iss="https://elsewhere.example")):
        assert (await stage.client.get("/items", headers=bearer(token))).status_code == 200
        assert stage.legacy.seen[-1].headers["authorization"] == f"Bearer {token}"
        assert caller(stage.legacy.seen[-1], "legacy") is None
    await stage.client.get("/items", headers={"X-Device-Token": "as today"})
    assert stage.legacy.seen[-1].headers["x-device-token"] == "as today"


async def test_the_first_request_waits_for_the_keys_and_a_new_key_is_fetched_once(
    stage: Stage, issuer: LoginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    believe(stage, issuer=issuer)
    await until(lambda: issuer.fetched)
    issuer.new_key("two")
    del issuer.keys["one"]
    before = issuer.fetched
    answers = await asyncio.gather(
        *(stage.client.get("/items", headers=bearer(issuer.token("two"))) for _ in range(10))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert issuer.fetched <= before + 2


async def test_keys_are_not_fetched_for_every_unknown_one(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer)
    await until(lambda: issuer.fetched)
    stranger = ec.generate_private_key(ec.SECP256R1())
    for number in range(20):
        token = issuer.token(f"unknown-{number}", key=stranger)
        assert (await stage.client.get("/items", headers=bearer(token))).status_code == 401
    assert issuer.fetched <= 2


async def test_the_last_known_keys_hold_while_the_issuer_is_away_also_after_a_restart(
    stage: Stage, issuer: LoginServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    believe(stage, issuer=issuer, refresh=1)
    assert (await stage.client.get("/items", headers=bearer(issuer.token()))).status_code == 200
    await issuer.server.kill()
    old = issuer.token()
    issuer.new_key("two")
    unknown = await stage.client.get("/items", headers=bearer(issuer.token("two")))
    assert unknown.status_code == 200
    assert stage.legacy.seen[-1].headers["banyan-identity"] == "away", "nobody knows it"
    assert (await stage.client.get("/items", headers=bearer(old))).status_code == 200
    async with staged(assertion_key=KEY, state_dir=tmp_path) as again:
        believe(again, issuer=issuer)
        assert (await again.client.get("/items", headers=bearer(issuer.token()))).status_code == 200
        await issuer.server.start()  # back, with both keys
        assert (await again.client.get("/items", headers=bearer(issuer.token("two")))).status_code == 200


async def test_a_key_that_was_withdrawn_is_believed_no_longer(
    stage: Stage, issuer: LoginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    believe(stage, issuer=issuer)
    stolen = issuer.token()
    assert (await stage.client.get("/items", headers=bearer(stolen))).status_code == 200
    issuer.new_key("two")
    del issuer.keys["one"]
    assert (await stage.client.get("/items", headers=bearer(issuer.token("two")))).status_code == 200
    assert (await stage.client.get("/items", headers=bearer(stolen))).status_code == 401


async def test_a_claim_is_the_key_of_an_operation(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer, keys={"items.list": ["jwt:sub"]})
    stage.wave(phase="canary", canary_percent=50)
    sides = {}
    for subject in map(str, range(40)):
        answer = await stage.client.get("/items", headers=bearer(issuer.token(sub=subject)))
        sides[subject] = side(answer)
        assert side(await stage.client.get("/items", headers=bearer(issuer.token(sub=subject)))) == sides[subject]
    assert set(sides.values()) == {"legacy", "service"}
    assert side(await stage.client.get("/items")) == "legacy", "without a key"


async def test_an_operation_may_ask_for_a_caller(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer, required=("items.list",))
    refused = await stage.client.get("/items")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert (await stage.client.get("/items", headers=bearer("a-devices-token"))).status_code == 401
    assert (await stage.client.get("/items", headers=bearer(issuer.token()))).status_code == 200
    assert (await stage.client.get("/items/1")).status_code == 200


async def test_an_issuer_whose_keys_were_never_had_is_our_failure_not_the_callers(
    stage: Stage, issuer: LoginServer
) -> None:
    token = issuer.token()
    await issuer.server.kill()
    believe(stage, issuer=issuer, required=("items.list",))
    for _ in range(2):
        refused = await stage.client.get("/items", headers=bearer(token))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        passed = await stage.client.get("/items/1", headers=bearer(token))
        assert (passed.status_code, stage.legacy.seen[-1].headers["banyan-identity"]) == (200, "away")


async def test_keys_are_asked_for_again_whatever_went_wrong_with_the_last_fetch(
    stage: Stage, issuer: LoginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    fetch = jwks.KeyRing._fetch

    async def fails(ring: jwks.KeyRing, client: httpx.AsyncClient) -> bytes:
        raise httpx.InvalidURL("no such place")

    monkeypatch.setattr(jwks.KeyRing, "_fetch", fails)
    believe(stage, issuer=issuer, required=("items.list",))
    async with asyncio.timeout(10):
        assert (await stage.client.get("/items", headers=bearer(issuer.token()))).status_code == 503
        monkeypatch.setattr(jwks.KeyRing, "_fetch", fetch)
        assert (await stage.client.get("/items", headers=bearer(issuer.token()))).status_code == 200


def test_one_waiter_that_fails_does_not_keep_the_others_waiting() -> None:
    called = []

    def fails() -> None:
        raise RuntimeError("mine")

    jwks.tell([fails, lambda: called.append(True)])
    assert called


async def test_a_trailer_cannot_speak_in_our_name_either(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer, headers={"x-customer-id": "sub"})
    head = b"POST /items HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    await stage.raw(head + b"2\r\n{}\r\n0\r\nX-Sum: 1\r\nX-Customer-Id: 1\r\nX_Customer_Id: 1\r\n\r\n")
    assert stage.legacy.seen, "it came"
    bridge = stage.gateway.bridge
    assert bridge is not None
    assert bridge.trailers([b"X-Sum: 1", b"X-Customer-Id: 1", b"x_customer_id: 1"]) == [b"X-Sum: 1"]


@pytest.mark.parametrize("url", ["http://login:port/jwks", "http://[x/jwks", "http:///jwks", "http://login:99999/"])
def test_a_place_that_no_client_can_ask_is_refused_in_the_table(url: str) -> None:
    found = list(front_rules.of_front(_believing(url)))
    assert [at for at, _ in found] == ["auth.issuers[0].jwks"]
    assert not list(front_rules.of_front(_believing("http://[::1]:8080/jwks?a=b")))


def _believing(url: str) -> RouteTable:
    return RouteTable(1, {}, auth=Auth([Issuer("https://login.example", url, ["shop"])]))


def test_no_secret_is_in_the_settings_when_they_are_printed() -> None:
    shown = repr(Settings(admin_token="hidden-1", redis_url="redis://:hidden-2@r", assertion_key="hidden-3"))
    assert "hidden" not in shown


async def test_a_write_without_a_valid_token_takes_no_room_in_a_hold(stage: Stage, issuer: LoginServer) -> None:
    believe(stage, issuer=issuer, required=("items.add",))
    stage.wave(hold=True)
    for headers in ({}, bearer(issuer.token(exp=1))):
        answer = await stage.client.post("/items", content=b"x", headers=headers)
        assert answer.status_code == 401
    assert stage.event("held") == 0
    held = asyncio.create_task(stage.client.post("/items", content=b"x", headers=bearer(issuer.token())))
    await until(lambda: len(stage.gateway.room) == 1)
    stage.wave(hold=False)
    assert (await held).status_code == 200
    assert not any("authorization" not in seen.headers for seen in stage.legacy.seen if seen.method == "POST")
