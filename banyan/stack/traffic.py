"""A fleet of clients on an event loop of its own thread: it never waits for what the operator does meanwhile."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

from load.audit import AuditReport, audit
from load.clients import Fleet, Stats


@dataclass(slots=True)
class Traffic:
    """A Fleet that runs until `stop`."""

    fleet: Fleet
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _stop: asyncio.Event | None = None
    _error: BaseException | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="clients", daemon=True)
        self._thread.start()

    def stats(self) -> Stats:
        if self._error is not None:
            raise self._error
        return self.fleet.stats()

    def accepted_writes(self) -> int:
        """Write requests answered 2xx so far."""
        return len(self.fleet.accepted())

    def end(self) -> None:
        """No new requests from now on."""
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self, timeout: float = 60.0) -> None:
        """No new requests; wait until those in flight have finished."""
        self.end()
        if self._thread is not None:
            self._thread.join(timeout)
        if self._error is not None:
            raise self._error

    def audit(self, legacy_dsn: str, service_dsn: str) -> AuditReport:
        """Look up in both databases what was accepted."""
        return audit(self.fleet.accepted(), legacy_dsn, service_dsn)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            self._error = error

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        await self.fleet.run(self._stop)
        await self.fleet.settle()
