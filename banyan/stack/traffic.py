"""The demonstration's clients, on an event loop of their own thread: they never wait for the operator's steps."""

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
        return len(self.fleet.accepted())

    def stop(self, timeout: float = 60.0) -> None:
        """No new requests; those in flight finish."""
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(timeout)
        if self._error is not None:
            raise self._error

    def audit(self, legacy_dsn: str, pricing_dsn: str) -> AuditReport:
        return audit(self.fleet.accepted(), legacy_dsn, pricing_dsn)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            self._error = error

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        await self.fleet.run(self._stop)
        await self.fleet.settle()
