"""Whose token it is, remembered for a while, and looked up for hundreds at once when a fleet comes back after a cut."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.chassis.auth import DeviceLookup, token_sha1
from services.devices.store import tokens

log = structlog.get_logger()

#: Seconds for which a token that was looked up is believed. A change of tokens ends that at once, but for one that
#: change data capture applies: the monolith's, before this side owns the device.
BELIEVED = 300.0
MOST = 20_000
PART = 500


class Tokens:
    def __init__(self, reader: AsyncEngine, one: DeviceLookup) -> None:
        """`one` looks up a token that comes for the first time, and lets it take over."""
        self._reader, self._one = reader, one
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of: dict[int, set[str]] = {}
        self._asked: dict[str, asyncio.Future[int | None]] = {}
        self._wake = asyncio.Event()
        self._all_changes = 0
        # How often each device's tokens changed; as many as there are devices, at most.
        self._changes: dict[int, int] = {}

    async def device_of(self, token: str) -> int | None:
        """None for a token that is good for nothing. Raises: SQLAlchemyError."""
        sha1 = token_sha1(token)
        if (known := self._known.get(sha1)) is not None and known[1] > time.monotonic():
            return known[0]
        if (asked := self._asked.get(sha1)) is None:
            asked = self._asked[sha1] = asyncio.get_running_loop().create_future()
            self._wake.set()
        return await asyncio.shield(asked)

    def stamp(self, device: int) -> tuple[int, int]:
        """Another one than before: the device's tokens may have changed."""
        return self._all_changes, self._changes.get(device, 0)

    def forget(self, device: int) -> None:
        self._changes[device] = self._changes.get(device, 0) + 1
        for sha1 in list(self._of.get(device, ())):
            self._drop(sha1, device)

    def forget_all(self) -> None:
        self._all_changes += 1
        self._known.clear()
        self._of.clear()

    async def run(self) -> None:
        """Look up what is asked, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked:
                part = list(self._asked)[:PART]
                futures = {sha1: self._asked.pop(sha1) for sha1 in part}
                try:
                    found = await self._look_up(part)
                except (SQLAlchemyError, OSError) as error:
                    for future in futures.values():
                        future.set_exception(error)
                        future.exception()  # who asked may have left
                    continue
                for sha1, future in futures.items():
                    future.set_result(found.get(sha1))

    async def _look_up(self, sha1s: list[str]) -> dict[str, int]:
        all_changes, changes = self._all_changes, self._changes.copy()
        async with self._reader.connect() as connection:
            rows = await tokens.devices_of(connection, sha1s)
        found = {}
        for sha1, device, kind in rows:
            if kind == "next":
                await self._one(sha1)
            found[sha1] = device
            # What changed while we looked is not remembered.
            if self.stamp(device) == (all_changes, changes.get(device, 0)):
                self._keep(sha1, device)
        return found

    def _keep(self, sha1: str, device: int) -> None:
        self._known.pop(sha1, None)
        self._known[sha1] = device, time.monotonic() + BELIEVED
        self._of.setdefault(device, set()).add(sha1)
        if len(self._known) > MOST:
            oldest, (id_, _) = next(iter(self._known.items()))
            self._drop(oldest, id_)

    def _drop(self, sha1: str, device: int) -> None:
        self._known.pop(sha1, None)
        mine = self._of.get(device, set())
        mine.discard(sha1)
        if not mine:
            self._of.pop(device, None)
