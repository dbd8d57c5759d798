"""Walk a domain along its journey by the operator's commands, with a little traffic so that gates have data."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator

import httpx

from tests.e2e.conftest import Stack

READS = {
    "pricing": ["/api/tariffs", "/api/prices?area=NL&from=2024-06-01&to=2024-06-02"],
    "devices": ["/api/devices?limit=5"],
    "notifications": ["/api/notifications?customer_id=1"],
}


@contextlib.contextmanager
def reading(stack: Stack, domain: str) -> Iterator[None]:
    """About fifty reads a second of `domain` by a hundred clients, in the background."""
    stop = threading.Event()

    def read() -> None:
        with stack.client() as client:
            for number, path in enumerate(itertools.cycle(READS[domain])):
                if stop.wait(0.02):
                    return
                with contextlib.suppress(httpx.HTTPError):
                    client.get(path, headers={"X-Client-Id": f"reader-{number % 100}"})

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def state(stack: Stack, domain: str) -> dict[str, object]:
    answer = json.loads(stack.banyan("status", "--json").stdout)
    return next(d for d in answer["domains"] if d["domain"] == domain)


@contextlib.contextmanager
def at_service(stack: Stack, domain: str) -> Iterator[None]:
    """`domain` is at its service inside the block, and back at the monolith after it."""
    with reading(stack, domain):
        for _ in range(3):
            stack.banyan("advance", domain, "--yes", "--reason", "test")
        stack.banyan("switch", domain, "--yes", "--reason", "test")
    try:
        yield
    finally:
        while state(stack, domain)["phase"] != "legacy":
            stack.banyan("rollback", domain, "--yes", "--reason", "test")
