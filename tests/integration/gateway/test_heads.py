"""What the upstream is told with a request, and what is taken away on both ways."""

from __future__ import annotations

import re

import pytest

from tests.integration.gateway.stage import Stage
from tests.integration.gateway.upstream import answering


async def test_the_upstream_is_told_who_asked(stage: Stage) -> None:
    answer = await stage.client.get("/items", headers={"X-Forwarded-For": "10.0.0.9", "X-Forwarded-Proto": "gopher"})
    seen = stage.legacy.seen[0].headers
    assert seen["x-forwarded-for"] == "127.0.0.1", "a client cannot say where it came from"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == seen["host"] == f"127.0.0.1:{stage.port}"
    assert seen["x-request-id"] == answer.headers["x-request-id"]
    assert len(seen["traceparent"].split("-")) == 4


async def test_a_given_request_id_and_trace_are_kept(stage: Stage) -> None:
    given = {"X-Request-Id": "mine-1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    answer = await stage.client.get("/items", headers=given)
    seen = stage.legacy.seen[0].headers
    assert (seen["x-request-id"], seen["traceparent"]) == ("mine-1", given["traceparent"])
    assert answer.headers["x-request-id"] == "mine-1"


async def test_an_absurd_request_id_is_replaced(stage: Stage) -> None:
    await stage.client.get("/items", headers={"X-Request-Id": "x" * 500})
    assert len(stage.legacy.seen[0].headers["x-request-id"]) < 100
    assert stage.legacy.seen[0].head.lower().count(b"x-request-id") == 1


async def test_hop_by_hop_headers_and_those_named_in_connection_are_removed(stage: Stage) -> None:
    stage.legacy.handler = answering(200, b"{}", Keep_Alive="timeout=3", X_Private="1", Connection="X-Private")
    answer = await stage.raw(
        b"GET /items HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret, Host\r\nX-Secret: 1\r\nTE: trailers\r\n"
        b"Keep-Alive: 3\r\nX-Kept: 1\r\n\r\n"
    )
    seen = stage.legacy.seen[0].headers
    assert not {"x-secret", "te", "keep-alive", "connection"} & seen.keys()
    assert seen["x-kept"] == "1"
    assert seen["host"] == "a", "a client cannot have Host removed"
    assert b"X-Private" not in answer
    assert b"Keep-Alive" not in answer


async def test_names_in_connection_that_no_header_has_cost_no_search(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head has room for ten thousand names: with a search for each, one request held up its worker for a second."""
    searched = []
    real = re.sub

    def counting(pattern: bytes, *rest: bytes) -> bytes:
        searched.append(pattern)
        return real(pattern, *rest)

    monkeypatch.setattr("gateway.http1.forward.re.sub", counting)
    names = ",".join(f"n{number:x}" for number in range(5000))
    await stage.raw(f"GET /items HTTP/1.1\r\nHost: a\r\nConnection: close,{names}\r\nN1F: 1\r\n\r\n".encode())
    assert b"N1F" not in stage.legacy.seen[0].head
    assert len(searched) == 1
