"""The monolith's cookie is read as Flask signed it, and nothing else is."""

from __future__ import annotations

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from services.chassis.auth import Authenticator


def flask_cookie(secret: str, session: dict[str, object]) -> str:
    app = Flask(__name__)
    app.secret_key = secret
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return str(serializer.dumps(session))


def test_a_session_that_flask_signed_names_its_customer() -> None:
    cookie = flask_cookie("s", {"customer_id": 7, "when": (1, 2), "_fresh": True})
    assert Authenticator("s", "k").customer_of(cookie) == 7


def test_a_session_signed_with_another_secret_names_nobody() -> None:
    assert Authenticator("s", "k").customer_of(flask_cookie("other", {"customer_id": 7})) is None


def test_a_session_that_was_changed_names_nobody() -> None:
    cookie = flask_cookie("s", {"customer_id": 7})
    other = flask_cookie("s", {"customer_id": 8})
    forged = ".".join([other.split(".")[0], *cookie.split(".")[1:]])
    assert Authenticator("s", "k").customer_of(forged) is None


def test_a_session_without_a_customer_or_with_a_strange_one_names_nobody() -> None:
    for session in ({}, {"customer_id": "7"}, {"customer_id": True}, {"customer_id": None}):
        assert Authenticator("s", "k").customer_of(flask_cookie("s", session)) is None


def test_garbage_names_nobody() -> None:
    for cookie in (None, "", ".", "a.b.c", "é", "x" * 10_000):
        assert Authenticator("s", "k").customer_of(cookie) is None
