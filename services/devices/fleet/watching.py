"""Who watches which command: WebSockets of this process, and the registry by which other processes tell it.

Redis holds for each correlation id the processes with a watcher, for a time; it is no queue and no source of truth. A
process that moves a command looks there and publishes to those; without Redis, or when a word is lost, a watcher finds
out from the database, which it asks every `LOOK_EVERY` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID, uuid4

import structlog
from msgspec import Struct, json
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.devices.store.progress import Progress

log = structlog.get_logger()

#: Watchers of one process.
MOST = 1000
#: Seconds.
LOOK_EVERY = 2.0
TTL = 90
RENEW_EVERY = 30.0
_KEY, _CHANNEL = "banyan:devices:watchers:", "banyan:devices:node:"


class Word(Struct, frozen=True):
    """What a watcher is told. `at` is the service's time."""

    correlation_id: UUID
    ref: str
    state: str
    at: datetime | None
    note: str


def words(progress: Progress) -> list[Word]:
    """What became of a command so far, from its beginning."""
    steps = [("queued", progress.issued_at), ("sent", progress.sent_at), ("delivered", progress.delivered_at)]
    if progress.settled_at is not None:
        # Steps that were skipped got their time when the command ended: they did not happen before it.
        steps = [(state, at) for state, at in steps if at is not None and at < progress.settled_at]
        steps.append((progress.state, progress.settled_at))
    note = {progress.state: progress.note}
    return [
        Word(progress.correlation_id, progress.ref, state, at, note.get(state, ""))
        for state, at in steps
        if at is not None
    ]


class Watching:
    def __init__(self, redis: Redis | None = None) -> None:
        self._redis, self._node = redis, uuid4().hex
        self._watchers: dict[UUID, set[asyncio.Event]] = {}
        self._count = 0

    @property
    def anybody(self) -> bool:
        """Whether a watcher may be there, here or elsewhere."""
        return bool(self._watchers) or self._redis is not None

    @property
    def is_full(self) -> bool:
        return self._count >= MOST

    @contextlib.asynccontextmanager
    async def watch(self, correlation_id: UUID) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the command may have moved."""
        event = asyncio.Event()
        self._watchers.setdefault(correlation_id, set()).add(event)
        self._count += 1
        try:
            await self._register([correlation_id])
            yield event
        finally:
            self._count -= 1
            left = self._watchers[correlation_id]
            left.discard(event)
            if not left:
                del self._watchers[correlation_id]

    async def tell(self, moved: Sequence[Progress]) -> None:
        """These commands have moved: wake who watches them. Only those that were asked for have watchers elsewhere."""
        ids = [progress.correlation_id for progress in moved if progress.issuer != "market"]
        self._wake(ids)
        if self._redis is None or not ids:
            return
        try:
            async with asyncio.timeout(1), self._redis.pipeline(transaction=False) as asked:
                for id_ in ids:
                    asked.smembers(f"{_KEY}{id_}")
                found = await asked.execute()
                for id_, nodes in zip(ids, found, strict=True):
                    for node in nodes:
                        if node.decode() != self._node:
                            await self._redis.publish(f"{_CHANNEL}{node.decode()}", str(id_))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("watchers elsewhere are not told", error=str(error))

    def _wake(self, ids: Sequence[UUID]) -> None:
        for id_ in ids:
            for event in self._watchers.get(id_, ()):
                event.set()

    async def _register(self, ids: Sequence[UUID]) -> None:
        if self._redis is None:
            return
        try:
            async with asyncio.timeout(1), self._redis.pipeline(transaction=False) as told:
                for id_ in ids:
                    told.sadd(f"{_KEY}{id_}", self._node)
                    told.expire(f"{_KEY}{id_}", TTL)
                await told.execute()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("not in the registry of watchers", error=str(error))

    async def listen(self) -> None:
        """Hear what other processes tell this one, and stay in the registry. For ever."""
        if self._redis is None:
            return
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(f"{_CHANNEL}{self._node}")
                    await self._hear(channel)
            except (RedisError, OSError, ValueError) as error:
                log.warning("watchers are not told by others", error=str(error))
                await asyncio.sleep(1)

    async def _hear(self, channel: object) -> None:
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + RENEW_EVERY
        while True:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=1.0)  # type: ignore[attr-defined]
            if message is not None:
                self._wake([UUID(message["data"].decode())])
            if loop.time() >= renew_at:
                renew_at = loop.time() + RENEW_EVERY
                await self._register(list(self._watchers))


def encode(word: Word) -> str:
    return json.encode(word).decode()
