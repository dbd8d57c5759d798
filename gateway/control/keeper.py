"""Keeps the table of this node: takes changes one at a time, gives them to the workers, the disk and the audit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import msgspec
import structlog

from gateway.control import link, stored
from gateway.control.audit import NOWHERE, Audit, Source
from gateway.control.client import Applied
from gateway.control.table import RouteTable
from gateway.errors import VersionConflict
from gateway.settings import Settings
from gateway.tls import refuse_unusable

log = structlog.get_logger("gateway.keeper")


class Claim(Protocol):
    """Makes a new version the newest of all nodes. Raises: VersionConflict when another node was first."""

    def __call__(self, table: RouteTable) -> Awaitable[None]: ...


class Keeper:
    def __init__(self, settings: Settings, table: RouteTable) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._lines = link.Lines()
        self.table = table
        self.audit = Audit(settings.audit_file)
        self.claim: Claim | None = None
        self._live = 0.0  # when the workers had confirmed the newest table
        self._saving: asyncio.Task[None] | None = None

    async def change(
        self,
        expected: int,
        make: Callable[[RouteTable], RouteTable],
        actor: str,
        reason: str,
        source: Source = NOWHERE,
        *,
        durable: bool = True,
    ) -> Applied:
        """Replace the table if it still is at `expected`. Not `durable`: the answer does not wait for the disk.

        Raises, nothing changed: VersionConflict, TableRefused; OSError when it could be neither audited nor stored.
        """
        started = perf_counter()
        async with self._lock:
            before = self.table
            if before.version != expected:
                raise VersionConflict(expected, before.version)
            after = msgspec.structs.replace(make(before), version=before.version + 1).validated()
            refuse_unusable(after)
            # All that can fail comes before the claim: after it the other nodes have the table.
            self.audit.add(actor, reason, before, after, source)
            try:
                prepared = stored.prepare(self._settings.table_file, after)
                try:
                    if self.claim is not None:
                        await self.claim(after)
                except BaseException:
                    prepared.unlink(missing_ok=True)
                    raise
            except BaseException as error:
                self.audit.withdraw(actor, before, str(error) or type(error).__name__)
                raise
            applied = await self._take(after, prepared, durable)
        return Applied(after.version, applied, self._settings.workers, round((self._live - started) * 1000, 3))

    async def follow(self, table: RouteTable) -> None:
        """Another node has made this table the newest."""
        async with self._lock:
            if table.version > self.table.version:
                before = self.table
                refuse_unusable(table.validated())
                prepared = stored.prepare(self._settings.table_file, table)
                try:
                    self.audit.add("another gateway node", "followed its change", before, table)
                except OSError as error:  # all others have it: to stay behind would be worse
                    log.error("a change of another node is not audited", version=table.version, error=str(error))
                await self._take(table, prepared)

    async def _take(self, table: RouteTable, prepared: Path, durable: bool = True) -> int:
        # A file first: a worker that restarts in this very moment must not come back with the old table. To make it
        # durable takes longer than all the rest.
        try:
            stored.announce(self._settings.table_file, prepared)
        except OSError as error:
            log.error("the table is not announced to workers that start", version=table.version, error=str(error))
        self.table = table
        self._saving = asyncio.create_task(self._save(table, self._saving))
        applied = await self.push()
        self._live = perf_counter()
        if durable:
            await asyncio.shield(self._saving)
        return applied

    async def _save(self, table: RouteTable, before: asyncio.Task[None] | None) -> None:
        """After the one before, which must not come to lie over it; not any more when a newer one is there."""
        if before is not None:
            await before
        if table.version < self.table.version:
            return
        try:
            await asyncio.to_thread(self._write, table)
        except OSError as error:
            log.error(
                "the table is live; it, or its audit, is not safe on the disk", version=table.version, error=str(error)
            )

    def _write(self, table: RouteTable) -> None:
        stored.save(self._settings.table_file, table)
        self.audit.sync()

    async def push(self) -> int:
        """Give the table to all workers; how many have it."""
        message = {"do": "table", "table": msgspec.json.encode(self.table).decode()}
        answers = await self.ask_all(message)
        return sum(answer is not None and answer.get("version") == self.table.version for answer in answers)

    async def ask_all(self, message: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Every worker's answer in order; None for one that does not answer."""

        async def ask(index: int) -> dict[str, Any] | None:
            with contextlib.suppress(link.LinkDown):
                return await self._lines.ask(self._settings.socket(index), message)
            return None

        return list(await asyncio.gather(*(ask(index) for index in range(self._settings.workers))))
