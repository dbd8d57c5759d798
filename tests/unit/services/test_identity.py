"""The gateway's word on who calls, at a service and at the monolith: believed when it is its own, and for this side."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import jwt
import pytest

from legacy_monolith import auth as legacy_auth
from legacy_monolith.app import create_app
from legacy_monolith.errors import ApiError
from legacy_monolith.settings import Settings
from services.chassis.auth import Authenticator, Caller
from services.chassis.errors import Problem

KEY = "a-key-that-gateway-and-sides-share"


def said(key: str = KEY, **claims: Any) -> str:
    now = int(time.time())
    told = {"iss": "banyan-gateway", "aud": "pricing", "sub": "7", "kind": "customer", "exp": now + 60, **claims}
    return jwt.encode({name: value for name, value in told.items() if value is not None}, key, algorithm="HS256")


FORGED = {
    "by another key": {"key": "x" * 40},
    "for another side": {"aud": "devices"},
    "long ago": {"exp": 1},
    "for ever": {"exp": None},
    "by somebody else": {"iss": "me"},
    "as the back office": {"kind": "backoffice"},
    "as nobody": {"sub": None},
    "as no number": {"sub": "seven"},
}


async def identify(token: str, **headers: str) -> Caller:
    authenticator = Authenticator("s", "k", assertion_key=KEY, audience="pricing")
    connection: Any = SimpleNamespace(headers={"banyan-identity": token, **headers}, cookies={})
    return await authenticator.identify(connection)


async def test_a_service_believes_the_gateway() -> None:
    assert await identify(said()) == Caller("customer", 7)
    assert await identify(said(kind="device", sub="9"), authorization="Bearer a.b.c") == Caller("device", 9)
    assert await identify("nonsense", **{"x-api-key": "k"}) == Caller("backoffice"), "who has a key needs no word"


@pytest.mark.parametrize("claims", FORGED.values(), ids=FORGED)
async def test_a_service_believes_nobody_else(claims: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        await identify(said(**claims))
    assert refused.value.status_code == 401


async def test_a_service_asks_to_come_again_when_the_gateway_does_not_know() -> None:
    with pytest.raises(Problem) as refused:
        await identify("away")
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "1"})


async def test_a_service_reads_a_session_itself_while_the_gateway_cannot_find_out_whose_it_is() -> None:
    app = create_app(Settings("postgresql://127.0.0.1:1/none", "s", "k"))
    signing = app.session_interface.get_signing_serializer(app)
    assert signing is not None
    authenticator = Authenticator("s", "k", assertion_key=KEY, audience="pricing")
    connection: Any = SimpleNamespace(
        headers={"banyan-identity": "away"}, cookies={"session": signing.dumps({"customer_id": 7})}
    )
    assert await authenticator.identify(connection) == Caller("customer", 7)


async def test_without_a_key_nothing_is_believed() -> None:
    connection: Any = SimpleNamespace(headers={"banyan-identity": said()}, cookies={})
    with pytest.raises(Problem):
        await Authenticator("s", "k").identify(connection)


def require(token: str, key: str = KEY) -> legacy_auth.Caller:
    app = create_app(Settings("postgresql://127.0.0.1:1/none", "s", "k", assertion_key=key))
    with app.test_request_context("/", headers={"Banyan-Identity": token}):
        return legacy_auth.require(legacy_auth.CUSTOMER)


def test_the_monolith_believes_the_gateway_and_nobody_else() -> None:
    assert require(said(aud="legacy")) == legacy_auth.Caller("customer", 7)
    for claims in FORGED.values():
        with pytest.raises(ApiError) as refused:
            require(said(**{"aud": "legacy", **claims}))
        assert refused.value.status == 401
    with pytest.raises(ApiError):
        require(said(aud="legacy"), key="")
    with pytest.raises(ApiError) as later:
        require("away")
    assert later.value.status == 503


def test_the_monolith_tells_whose_session_it_is() -> None:
    app = create_app(Settings("postgresql://127.0.0.1:1/none", "s", "k"))
    with app.test_client() as client:
        assert client.get("/session").status_code == 401
        with client.session_transaction() as session:
            session["customer_id"] = 7
        assert client.get("/session").get_json() == {"customer_id": 7}
