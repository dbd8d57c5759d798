"""Waits for Kafka's client that end. Its blocking calls wait for a thread of its own without any limit, and where that
has lost an answer (a broker that died, a rebalance) they wait for ever: no error, no word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import structlog
from kafka.net.compat import KafkaNetClient

from cdc.errors import first_line
from cdc.kafka.errors import BrokerAway

# What any call may take beyond the time that it was told itself, seconds.
PATIENCE = 20.0
# A client that does not close in this time is left behind, seconds.
CLOSING = 5.0

log = structlog.get_logger("cdc.kafka")


T = TypeVar("T")


class Closing(Protocol):
    def close(self) -> object: ...


def within(seconds: float, what: str, call: Callable[[], T]) -> T:
    """The call's result, or what it raises. When it does not come back its thread is left behind, and the client that
    it was made of is worth nothing any more.

    Raises: BrokerAway.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as e:
            failures.append(e)

    worker = threading.Thread(target=work, name=f"kafka {what}", daemon=True)
    worker.start()
    worker.join(seconds)
    if failures:
        raise failures[0]
    if not results:
        raise BrokerAway(f"Kafka's client does not come back from {what} within {seconds:g} s")
    return results[0]


def made(build: Callable[[Callable[..., KafkaNetClient]], T]) -> T:
    """A client; `build` is given what makes its network part, so that one that finds no broker leaves no thread behind.

    Raises: BrokerAway, and what the client does.
    """
    parts: list[KafkaNetClient] = []

    def part(**options: Any) -> KafkaNetClient:
        parts.append(KafkaNetClient(**options))
        return parts[-1]

    try:
        return within(PATIENCE, "its start", lambda: build(part))
    except BaseException:
        for one in parts:
            closed(one)
        raise


def closed(client: Closing, close: Callable[[], object] | None = None) -> None:
    """Best effort; `close` where it needs to be told more."""
    try:
        within(CLOSING, "closing", close if close is not None else client.close)
    except Exception as e:
        log.warning("a client of Kafka did not close", error=first_line(e))
