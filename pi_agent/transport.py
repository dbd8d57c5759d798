"""Drives exchanges over HTTP, bounded in time and size, with a request id that crosses all hops."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from pi_agent.backoff import parse_retry_after
from pi_agent.clock import Clock
from pi_agent.errors import Unreachable
from pi_agent.exchange import Exchange, Request, Response, T

log = logging.getLogger("pi_agent")

#: No answer of the contracts comes near this.
MAX_BODY = 1 << 20


class Transport:
    def __init__(self, base_url: str, timeout_s: float, clock: Clock) -> None:
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout_s, trust_env=False)
        self._timeout_s = timeout_s
        self._clock = clock
        self._server_time: tuple[datetime, float] | None = None  # by the last Date, and the monotonic clock then

    @property
    def skew_s(self) -> float | None:
        """The server's clock minus ours, to whole seconds; None when not known.

        The server's clock is carried on by the monotonic one: when ours is set right, the skew is gone, even off line.
        """
        if self._server_time is None:
            return None
        date, then = self._server_time
        elapsed = self._clock.monotonic() - then
        return (date - self._clock.now()).total_seconds() + elapsed

    async def close(self) -> None:
        await self._client.aclose()

    async def run(self, exchange: Exchange[T]) -> T:
        """The exchange's result. Raises what the exchange raises; Unreachable is raised inside it first."""
        try:
            request = next(exchange)
            while True:
                try:
                    response = await self._send(request)
                except Unreachable as error:
                    request = exchange.throw(error)
                else:
                    request = exchange.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _send(self, request: Request) -> Response:
        request_id = uuid.uuid4().hex
        headers = {"X-Request-Id": request_id, **request.headers}
        try:
            # httpx's time-outs are per operation: a server that drips bytes would never meet one.
            async with asyncio.timeout(self._timeout_s):
                async with self._client.stream(
                    request.method, request.path, headers=headers, json=request.body
                ) as answer:
                    content = await self._body(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.info("no answer: %s %s: %s", request.method, request.path, reason, extra={"request_id": request_id})
            raise Unreachable(reason) from error
        log.debug("%s %s %d", request.method, request.path, answer.status_code, extra={"request_id": request_id})
        self._note_date(answer.headers.get("date"))
        return Response(
            status=answer.status_code,
            headers={name.lower(): value for name, value in answer.headers.items()},
            content=content,
            retry_after=parse_retry_after(answer.headers.get("retry-after"), self._clock.now()),
        )

    @staticmethod
    async def _body(answer: httpx.Response) -> bytes:
        content = bytearray()
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > MAX_BODY:
                raise Unreachable(f"the answer is longer than {MAX_BODY} bytes")
        return bytes(content)

    def _note_date(self, value: str | None) -> None:
        if value is None:
            return
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        self._server_time = (date, self._clock.monotonic())
