"""Devices that wait for another document: one waiter a device, and one question to the database for many of them.

1. Who begins to wait is looked at once, like a change: what was written before it came is seen by that look, what is
   written after it is told by the database (`listener`), so nothing is missed between the two.
2. Looks are collected while one is under way: a publication to ten thousand takes twenty questions.
3. A newer waiter of a device ends the older one: a device that lost its connection does not hold two places.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.devices.domain.documents import Document
from services.devices.fleet.given import Given
from services.devices.store import documents

log = structlog.get_logger()

#: Waiters of one process; a device beyond them is answered at once.
MOST = 20_000
#: Devices in one question.
PART = 500


class Waiter:
    """What it knows, and where it is answered: another document, None (nothing new), or an error."""

    __slots__ = ("answer", "device_id", "epoch", "known")

    def __init__(
        self, device_id: int, known: frozenset[str], epoch: int | None, answer: asyncio.Future[object]
    ) -> None:
        self.device_id, self.known, self.epoch, self.answer = device_id, known, epoch, answer

    def wants(self, document: Document) -> bool:
        return document.etag not in self.known or (self.epoch is not None and self.epoch != document.epoch)

    def tell(self, answer: Document | Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Counts:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting = Gauge("banyan_devices_waiting", "Devices that wait for a document.", registry=registry)
        self.answers = Counter("banyan_devices_waits_total", "Waits by how they ended.", ["result"], registry=registry)


class Waiting:
    def __init__(self, reader: AsyncEngine, given: Given, counts: Counts, *, most: int = MOST) -> None:
        self._reader, self._given, self._counts, self._most = reader, given, counts, most
        self._waiters: dict[int, Waiter] = {}
        self._due: dict[int, None] = {}
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def is_full(self) -> bool:
        return self._closed or len(self._waiters) >= self._most

    async def wait(self, device_id: int, known: frozenset[str], epoch: int | None, seconds: float) -> Document | None:
        """Another document than those that are known, or None after so many seconds. Raises: SQLAlchemyError."""
        loop = asyncio.get_running_loop()
        waiter = Waiter(device_id, known, epoch, loop.create_future())
        if (older := self._waiters.get(device_id)) is not None:
            older.tell(None)
        self._waiters[device_id] = waiter
        self._counts.waiting.set(len(self._waiters))
        end = loop.call_later(seconds, waiter.tell, None)
        self.changed([device_id])
        try:
            answer = await waiter.answer
        finally:
            end.cancel()
            if self._waiters.get(device_id) is waiter:
                del self._waiters[device_id]
            self._counts.waiting.set(len(self._waiters))
        if isinstance(answer, Exception):
            raise answer
        self._counts.answers.labels("nothing" if answer is None else "news").inc()
        return answer if isinstance(answer, Document) else None

    def changed(self, ids: Iterable[int]) -> None:
        """Look at these, if they wait."""
        for id_ in ids:
            if id_ in self._waiters:
                self._due[id_] = None
        if self._due:
            self._wake.set()

    def look_at_all(self) -> None:
        """Something may have been missed."""
        self.changed(list(self._waiters))

    def close(self) -> None:
        """Nobody waits any longer: the process ends."""
        self._closed = True
        for waiter in list(self._waiters.values()):
            waiter.tell(None)

    def end(self, device_id: int) -> None:
        """The device may not wait any longer with what it showed."""
        if (waiter := self._waiters.get(device_id)) is not None:
            waiter.tell(None)

    async def run(self) -> None:
        """Look at who is due, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                part = list(self._due)[:PART]
                for id_ in part:
                    del self._due[id_]
                await self._look(part)

    async def _look(self, ids: list[int]) -> None:
        try:
            async with self._reader.connect() as connection:
                found = await documents.load(connection, ids)
        except (SQLAlchemyError, OSError) as error:
            log.warning("waiting devices cannot be looked at", error=str(error).splitlines()[0])
            for id_ in ids:
                if (waiter := self._waiters.get(id_)) is not None:
                    waiter.tell(error)
            return
        for id_, document in found.items():
            waiter = self._waiters.get(id_)
            if waiter is not None and waiter.wants(document):
                waiter.tell(document)
                self._given.add(document.unsent)
