"""One request on the gateway's own account, its response collected; for shadow copies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.http1.head import Response
from gateway.http1.pool import Pool
from gateway.http1.upstream import UpstreamConnection
from gateway.policies.retry import Cause

MOST_BODY = 512 * 1024  # bytes; a longer response is not compared


class FetchFailed(Exception):
    """The response did not come, or was too long."""


class _Collector:
    """Both waiter for a connection and sink of the response."""

    def __init__(self, head: bytes, answer: asyncio.Future[tuple[int, bytes]]) -> None:
        self._head = head
        self.answer = answer
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self.connection: UpstreamConnection | None = None

    @property
    def gone(self) -> bool:
        return self.answer.done()

    def on_connection(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        connection.send(self, b"GET", self._head, more=False)

    def on_no_connection(self, cause: Cause) -> None:
        self.on_lost(cause)

    def on_response(self, response: Response, body: bytes, done: bool) -> None:
        self._status = response.status
        self.on_body(body)
        if done:
            self.on_end()

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MOST_BODY:
            self.on_lost(Cause.OVERFLOW)
            self.abandon()
            return
        self._pieces.append(data)

    def on_informational(self, response: Response) -> None:
        return

    def on_end(self, trailers: Sequence[bytes] = ()) -> None:
        self.connection = None
        if not self.answer.done():
            self.answer.set_result((self._status, b"".join(self._pieces)))

    def on_lost(self, cause: Cause) -> None:
        if not self.answer.done():
            self.answer.set_exception(FetchFailed(cause.detail))

    def on_switched(self, response: Response, rest: bytes) -> None:
        self.on_lost(Cause.BROKEN)

    def on_upstream_full(self, full: bool) -> None:
        return

    def abandon(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()


async def fetch(pool: Pool, head: bytes, within: float) -> tuple[int, bytes]:
    """(status, body). Raises: FetchFailed, TimeoutError."""
    collector = _Collector(head, asyncio.get_running_loop().create_future())
    endpoint = pool.pick()
    connection = endpoint.take(repeatable=True)
    if connection is None:
        endpoint.wait(collector)
    else:
        collector.on_connection(connection)
    try:
        async with asyncio.timeout(within):
            return await collector.answer
    finally:
        collector.abandon()
