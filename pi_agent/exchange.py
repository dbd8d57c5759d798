"""One step of a protocol without I/O: a generator that yields requests, is sent responses, returns what it learned.

The same description is driven by httpx in the agent and by plain calls in tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pi_agent.errors import ExchangeError, Malformed, Refused

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    #: Which of the configured addresses: `gateway`, `service`, `flags`.
    to: str = "gateway"
    #: The server was asked to take so much longer over its answer.
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Response:
    """`retry_after` in seconds, already read from its header; header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    retry_after: float | None = None


Exchange = Generator[Request, Response, T]


def expect(response: Response, *statuses: int) -> Response:
    """The response, if its status is one of these. Raises: Refused."""
    if response.status not in statuses:
        raise Refused(response.status, response.retry_after)
    return response


def json_object(response: Response) -> dict[str, Any]:
    """Raises: Malformed."""
    try:
        value = json.loads(response.content)
    except ValueError:
        raise Malformed("the body is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object")
    return value


def watched(exchange: Exchange[T], look: Callable[[Response], None]) -> Exchange[T]:
    """The same exchange; `look` sees each response before it does."""
    try:
        request = next(exchange)
        while True:
            try:
                response = yield request
            except ExchangeError as error:
                request = exchange.throw(error)
            else:
                look(response)
                request = exchange.send(response)
    except StopIteration as stop:
        result: T = stop.value
        return result


def play(exchange: Exchange[T], answer: Callable[[Request], Response]) -> T:
    """Drive an exchange with a function; what `answer` raises is raised inside the exchange."""
    try:
        request = next(exchange)
        while True:
            try:
                response = answer(request)
            except Exception as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(response)
    except StopIteration as stop:
        result: T = stop.value
        return result
