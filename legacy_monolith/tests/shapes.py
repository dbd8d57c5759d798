"""What every answer of the contract looks like."""

from __future__ import annotations

import json
from typing import Any

import httpx


def answers(response: httpx.Response, status: int, body: Any) -> None:
    """Exactly these bytes: sorted keys, compact, ASCII, a newline at the end."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.content == (json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n").encode()


def formatted(response: httpx.Response, status: int = 200) -> Any:
    """The parsed body, after a look at how it is formatted."""
    assert response.status_code == status, response.text
    body = response.json()
    answers(response, status, body)
    return body


def refused(response: httpx.Response, status: int) -> None:
    """An error of `status` that says something, and nothing but that."""
    body = formatted(response, status)
    assert set(body) == {"error"}
    assert isinstance(body["error"], str)
    assert body["error"]
