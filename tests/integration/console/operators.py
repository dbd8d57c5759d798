"""A browser's part for tests without one: logs in, keeps its cookie, says the page's CSRF token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def log_in(console: str, token: str) -> Iterator[httpx.Client]:
    """A client that is logged in; it says the CSRF token of its page with each request."""
    with httpx.Client(base_url=console, timeout=60, follow_redirects=False) as client:
        answer = client.post("/login", data={"token": token})
        assert answer.status_code == 303, answer.text
        found = re.search(r'name="csrf" value="([^"]+)"', client.get("/").text)
        assert found is not None, "the page has no CSRF token"
        client.headers["X-CSRF-Token"] = found[1]
        yield client
