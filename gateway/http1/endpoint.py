"""One server of an upstream: its connections are kept alive, bounded, and handed out to waiting exchanges in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from gateway.http1.upstream import UpstreamConnection
from gateway.policies.retry import Cause
from gateway.tls import Secure

TLS_PATIENCE = 3  # times the time to connect: a handshake is two more turns and some work


@dataclass(frozen=True, slots=True)
class PoolLimits:
    connections: int = 256  # to one server, from one worker
    waiting: int = 1024
    connect_timeout: float = 1.0
    idle_seconds: float = 4.0  # below the keep-alive of most servers (uvicorn 5 s)
    # A request that must not be sent twice goes only over a connection that was in use this recently: a server that
    # closes an idle connection at this very moment would otherwise leave us not knowing whether it was carried out.
    trusted_idle_seconds: float = 1.0


class Waiter(Protocol):
    @property
    def gone(self) -> bool:
        """No longer wants a connection."""

    def on_connection(self, connection: UpstreamConnection) -> None: ...

    def on_no_connection(self, cause: Cause) -> None: ...


class Judge(Protocol):
    """Told how the calls of one server end."""

    def failed(self) -> None:
        """A gateway failure: no connection, a broken answer or none, 502, 503, 504."""

    def succeeded(self) -> None: ...


class Endpoint:
    def __init__(self, url: str, limits: PoolLimits, clock: Callable[[], float], secure: Secure | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname, "the table was validated"
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or (80 if secure is None else 443)
        self._secure = secure
        self.authority = parts.netloc.encode()
        self.healthy = True
        self.open = 0
        self.index = 0  # in the upstream's urls
        self.judge: Judge | None = None  # of its calls, where there are other servers to take
        self._limits = limits
        self._clock = clock
        self._idle: list[UpstreamConnection] = []
        self._waiters: deque[Waiter] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._closed = False

    def connect_options(self) -> dict[str, Any]:
        """Of asyncio's create_connection and open_connection: what makes it TLS."""
        return {} if self._secure is None else self._secure.options(self.host)

    @property
    def busy(self) -> int:
        return self.open - len(self._idle) + len(self._waiters)

    @property
    def roomy(self) -> bool:
        """Half of its connections are free: one may be given to who will keep it for long."""
        return self.busy < self._limits.connections // 2

    def take(self, *, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection, the one used last first."""
        idle = self._idle
        if not idle:
            return None
        if not repeatable and self._clock() - idle[-1].idle_since > self._limits.trusted_idle_seconds:
            return None
        return idle.pop()

    def wait(self, waiter: Waiter) -> None:
        """Answered by on_connection or on_no_connection, never within this call."""
        if len(self._waiters) >= self._limits.waiting:
            asyncio.get_running_loop().call_soon(waiter.on_no_connection, Cause.OVERFLOW)
            return
        self._waiters.append(waiter)
        if self.open + len(self._connecting) < self._limits.connections:
            self._connect()
        elif self._idle:  # all connections idle too long to be trusted: trade one for a fresh one
            self._idle.pop(0).transport.abort()

    def _connect(self) -> None:
        task = asyncio.get_running_loop().create_task(self._open())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            patience = self._limits.connect_timeout * (1 if self._secure is None else TLS_PATIENCE)
            async with asyncio.timeout(patience):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self), self.host, self.port, **self.connect_options()
                )
            if connection.transport.is_closing():
                raise ConnectionError("closed as soon as it was made")
        except OSError as error:  # TimeoutError and SSLError are some
            cause = Cause.CONNECT if self._secure is None else self._secure.cause_of(error, self.url)
            if (waiter := self._next_waiter()) is not None:
                waiter.on_no_connection(cause)
            self._connecting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            self._connect_if_wanted()  # those beyond the limit have nobody who tries for them yet
            return
        self._hand_out(connection)

    def _next_waiter(self) -> Waiter | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.gone:
                return waiter
        return None

    def _hand_out(self, connection: UpstreamConnection) -> None:
        if self._waiters and (waiter := self._next_waiter()) is not None:
            waiter.on_connection(connection)
        elif self._closed:
            connection.transport.close()
        else:
            connection.idle_since = self._clock()
            self._idle.append(connection)

    def on_made(self) -> None:
        self.open += 1

    def on_free(self, connection: UpstreamConnection, reusable: bool) -> None:
        if reusable and not connection.transport.is_closing():
            self._hand_out(connection)
        else:
            connection.transport.close()

    def on_gone(self, connection: UpstreamConnection) -> None:
        self.open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        self._connect_if_wanted()

    def _connect_if_wanted(self) -> None:
        if len(self._waiters) > len(self._connecting) and self.open + len(self._connecting) < self._limits.connections:
            self._connect()

    def reap(self) -> None:
        """Close what has been idle too long; the oldest are in front."""
        oldest = self._clock() - self._limits.idle_seconds
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).transport.close()

    def close(self) -> None:
        """Take no more; what is in use finishes."""
        self._closed = True
        while self._idle:
            self._idle.pop().transport.close()
