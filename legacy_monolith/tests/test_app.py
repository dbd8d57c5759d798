"""What the application does around its routes: health, metrics, limits, logs, a database that goes away."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable

import itsdangerous
import pytest
from flask import Flask
from flask.json.tag import TaggedJSONSerializer

from legacy_monolith import seed
from legacy_monolith.errors import CommandError
from legacy_monolith.requestlog import JsonFormatter
from legacy_monolith.settings import from_env, sqlalchemy_url
from legacy_monolith.tests.conftest import BACKOFFICE_KEY

NOWHERE = "postgresql://nobody:nothing@127.0.0.1:1/none"


def test_without_its_database_it_says_so_and_stays_up(make_app: Callable[..., Flask]) -> None:
    client = make_app(database_url=NOWHERE).test_client()
    for path in ("/health", "/api/tariffs"):
        got = client.get(path)
        assert (got.status_code, got.json) == (503, {"error": "the database is not available"})


def test_metrics_are_by_endpoint_not_by_path(make_app: Callable[..., Flask]) -> None:
    client = make_app().test_client()
    client.get("/api/quotes/123", headers={"X-Api-Key": BACKOFFICE_KEY})
    text = client.get("/metrics").text
    assert 'endpoint="quotes.get_quote"' in text
    labels = re.findall(r"\{(.*)\}", text)  # a sample's value, such as the time at which it began, may have any digits
    assert labels
    assert not any("123" in found for found in labels)


def test_a_body_that_is_too_large_is_refused(make_app: Callable[..., Flask]) -> None:
    got = (
        make_app()
        .test_client()
        .post("/api/prices", data=b"x" * (5 * 1024 * 1024), headers={"X-Api-Key": BACKOFFICE_KEY})
    )
    assert (got.status_code, got.json) == (413, {"error": "the body is too large"})


def test_every_request_is_one_json_line_with_its_id(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(logging.getLogger("legacy"), "handlers", [handler := logging.Handler()])
    handler.setFormatter(JsonFormatter())
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    make_app().test_client().get("/api/tariffs", headers={"X-Request-Id": "r-1"})
    line = json.loads(lines[-1])
    assert (line["request_id"], line["method"], line["path"], line["status"]) == ("r-1", "GET", "/api/tariffs", 200)


def test_others_can_verify_the_session_cookie_with_the_secret(
    legacy_database: str, make_app: Callable[..., Flask]
) -> None:
    seed.seed(legacy_database, 1, "secret")
    client = make_app(secret_key="shared").test_client()
    got = client.post("/login", json={"email": "customer-0001@example.net", "password": seed.PASSWORD})
    assert got.status_code == 200
    cookie = client.get_cookie("session")
    assert cookie is not None
    signer = itsdangerous.URLSafeTimedSerializer(
        "shared",
        salt="cookie-session",
        serializer=TaggedJSONSerializer(),
        signer_kwargs={"key_derivation": "hmac", "digest_method": "sha1"},
    )
    assert signer.loads(cookie.value) == {"customer_id": got.json["customer_id"]}


def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(CommandError, match="LEGACY_DATABASE_URL is not set"):
        from_env({})
    with pytest.raises(CommandError, match="postgresql://"):
        sqlalchemy_url("mysql://x")
