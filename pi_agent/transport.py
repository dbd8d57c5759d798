"""Drives exchanges over HTTP, bounded in time and size, with a request id that crosses all hops."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping

import httpx

from pi_agent.backoff import parse_retry_after
from pi_agent.clock import Clock
from pi_agent.errors import Unreachable
from pi_agent.exchange import Exchange, Request, Response, T

log = logging.getLogger("pi_agent")

#: No answer of the contracts comes near this.
MAX_BODY = 1 << 20


class Transport:
    """`addresses`: the base URL for each name that a request goes to."""

    def __init__(self, addresses: Mapping[str, str], timeout_s: float, clock: Clock) -> None:
        # Certificates are loaded only for who needs them: they take more memory than all the rest.
        verify = any(url.startswith("https:") for url in addresses.values())
        self._client = httpx.AsyncClient(timeout=None, trust_env=False, verify=verify)  # noqa: S113  bounded as a whole
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._clock = clock

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
        url = self._addresses[request.to] + request.path
        try:
            # httpx's time-outs are per operation: a server that drips bytes would never meet one.
            async with asyncio.timeout(self._timeout_s + request.wait_s):
                async with self._client.stream(request.method, url, headers=headers, json=request.body) as answer:
                    content = await self._body(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.info("no answer: %s %s: %s", request.method, request.path, reason, extra={"request_id": request_id})
            raise Unreachable(reason) from error
        log.debug("%s %s %d", request.method, request.path, answer.status_code, extra={"request_id": request_id})
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
