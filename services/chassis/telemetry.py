"""Around every request: its id (taken or made, bound to the log, echoed), a log line, the metrics, the time limit."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TypeGuard

import msgspec
import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from services.chassis.metrics import Metrics

log = structlog.get_logger()

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_QUIET = {"/livez", "/readyz", "/metrics"}
UNROUTED = "unrouted"


class Telemetry:
    """ASGI wrapper of the whole application, so that it sees also what no route matched."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, seconds: float) -> None:
        self._app = app
        self._metrics = metrics
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope):
            await self._app(scope, receive, send)
            return
        request_id = _header(scope, b"x-request-id")
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex.encode()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        if traceparent := _header(scope, b"traceparent"):
            structlog.contextvars.bind_contextvars(traceparent=traceparent.decode("latin-1")[:64])
        # Dry run: the answer says that nothing was kept.
        echo = [(b"x-request-id", request_id)]
        if is_dry_run(scope):
            echo.append((b"banyan-dry-run", b"1"))
        started = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *echo]
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, observed)
        except TimeoutError:
            if status:
                raise
            await _too_slow(observed, self._seconds)
        finally:
            self._record(scope, status or 500, time.perf_counter() - started)

    def _record(self, scope: HTTPScope, status: int, seconds: float) -> None:
        # Litestar leaves the matched template in the scope. A raw path as label would have no bound.
        route = scope.get("path_template") or UNROUTED
        self._metrics.request(scope["method"], route, status, seconds)
        if route not in _QUIET:
            log.info("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2))


def is_http(scope: Scope) -> TypeGuard[HTTPScope]:
    return str(scope["type"]) == "http"


def is_dry_run(scope: HTTPScope) -> bool:
    """True for a write that must be tried and rolled back."""
    return _header(scope, b"banyan-dry-run") == b"1" and scope["method"] not in ("GET", "HEAD", "OPTIONS")


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key.lower() == name), None)


async def _too_slow(send: Send, seconds: float) -> None:
    body = {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": f"no answer within {seconds:g} s",
    }
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(body), "more_body": False})
