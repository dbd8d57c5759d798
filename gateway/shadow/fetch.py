"""One request on the gateway's own account, its response collected; for shadow copies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.http1.head import Response
from gateway.http1.pool import Pool
from gateway.http1.upstream import UpstreamConnection
from gateway.policies.retry import Cause
from gateway.shadow.answer import MOST_BODY, Answer, Incomparable, answer_of


class FetchFailed(Exception):
    """The response did not come, or cannot be compared: too long, or packed in a way that is broken."""


class SideAway(FetchFailed):
    """It is not there, or does not speak HTTP, or does not answer in time: the next request will hardly fare better."""


class _Collector:
    """Both waiter for a connection and sink of the response."""

    def __init__(self, method: bytes, data: bytes, answer: asyncio.Future[tuple[Response, bytes]]) -> None:
        self._method = method
        self._data = data
        self.answer = answer
        self._response: Response | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self.connection: UpstreamConnection | None = None

    @property
    def gone(self) -> bool:
        return self.answer.done()

    def on_connection(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        connection.send(self, self._method, self._data, more=False)

    def on_no_connection(self, cause: Cause) -> None:
        self.on_lost(cause)

    def on_response(self, response: Response, body: bytes, done: bool) -> None:
        self._response = response
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
        if not self.answer.done() and self._response is not None:
            self.answer.set_result((self._response, b"".join(self._pieces)))

    def on_lost(self, cause: Cause) -> None:
        if not self.answer.done():
            kind = FetchFailed if cause is Cause.OVERFLOW else SideAway
            self.answer.set_exception(kind(cause.detail))

    def on_switched(self, response: Response, rest: bytes) -> None:
        self.on_lost(Cause.BROKEN)

    def on_upstream_full(self, full: bool) -> None:
        return

    def abandon(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()


async def fetch(pool: Pool, method: bytes, data: bytes, within: float) -> Answer:
    """`data`: the whole request. Raises: FetchFailed; SideAway, also after `within` seconds."""
    collector = _Collector(method, data, asyncio.get_running_loop().create_future())
    endpoint = pool.pick()
    connection = endpoint.take(repeatable=True)
    if connection is None:
        endpoint.wait(collector)
    else:
        collector.on_connection(connection)
    try:
        async with asyncio.timeout(within):
            response, body = await collector.answer
    except TimeoutError:
        raise SideAway(f"no answer within {within} s") from None
    finally:
        collector.abandon()
    try:
        return answer_of(response, body)
    except Incomparable as error:
        raise FetchFailed(str(error)) from error
