"""Tables between nodes, and watermarks for the workers, over Redis. The gateway runs without it; with it nodes agree.

Redis hash `banyan:table` {version, table} holds the newest table of all nodes, channel `banyan:table` tells of changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.control.keeper import Keeper
from gateway.control.table import RouteTable, decode_table
from gateway.errors import TableRefused, VersionConflict

KEY = "banyan:table"
WATERMARKS = "banyan:watermark"
ASK_SECONDS = 0.1  # between two looks at the watermarks
PATIENCE = 0.3  # seconds a change waits for Redis before it goes ahead without it
LONGEST_BACKOFF = 5.0

# KEYS[1] the hash; ARGV version, table. Returns 0, or the version that is there already.
_CLAIM = """
local there = tonumber(redis.call('HGET', KEYS[1], 'version') or '-1')
if there >= tonumber(ARGV[1]) then return there end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'table', ARGV[2])
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 0
"""

log = structlog.get_logger("gateway.spread")


class Spread:
    def __init__(self, url: str, keeper: Keeper) -> None:
        self._redis: Redis = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=1)
        self._keeper = keeper
        self.connected = False
        self._refused = -1  # the version in Redis that this node could not use

    async def claim(self, table: RouteTable) -> None:
        """Raises: VersionConflict when another node has this version or a later one; TableRefused when that one is
        bad (of a newer gateway, say: it is not ours to overwrite). Without Redis: nothing.
        """
        if not self.connected:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                there = await self._publish(table)
        except (RedisError, OSError) as error:
            log.warning("redis is away, the change goes ahead on this node", error=str(error))
            return
        if there == self._refused:
            remedy = f"`redis-cli DEL {KEY}` takes it away, then repeat"
            raise TableRefused([f"redis holds version {there}, which this node refused: {remedy}"])
        if there:
            raise VersionConflict(table.version - 1, there)

    async def _publish(self, table: RouteTable) -> int:
        encoded = msgspec.json.encode(table).decode()
        return int(await self._redis.eval(_CLAIM, 1, KEY, str(table.version), encoded))

    async def run(self) -> None:
        """Until cancelled; comes back by itself when Redis was away."""
        backoff = 0.2
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(KEY)
                    await self._agree()
                    self.connected = True
                    backoff = 0.2
                    await self._follow(channel)
            except (RedisError, OSError) as error:
                if self.connected:
                    log.warning("redis is away, the table of this node stays in force", error=str(error))
                    await self._tell_watermarks({})
                self.connected = False
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF)

    async def _agree(self) -> None:
        """The newer of Redis's table and ours becomes everybody's."""
        if await self._publish(self._keeper.table):
            await self._take_newest()

    async def _take_newest(self) -> None:
        encoded = await self._redis.hget(KEY, "table")
        if encoded is None:
            return
        try:
            await self._keeper.follow(decode_table(encoded))
        except TableRefused as error:
            version = await self._redis.hget(KEY, "version")
            self._refused = int(version) if version is not None and version.isdigit() else -1
            log.error("the table in redis is refused, ours stays in force", version=self._refused, reason=str(error))

    async def _follow(self, channel: Any) -> None:
        while True:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=ASK_SECONDS)
            if message is not None:
                await self._take_newest()
            await self._tell_watermarks(await self._redis.hgetall(WATERMARKS))

    async def _tell_watermarks(self, fields: Mapping[Any, Any]) -> None:
        known = {name.decode(): at for name, value in fields.items() if (at := commit_time(value)) is not None}
        await self._keeper.ask_all({"do": "watermarks", "watermarks": known})


def commit_time(value: bytes, now: float | None = None) -> float | None:
    """Wall-clock seconds up to which the other side has everything; None when that is not known."""
    try:
        at = msgspec.json.decode(value)["commit_at"]
        seconds = float(at) if isinstance(at, int | float) else datetime.fromisoformat(at).timestamp()
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None
    return seconds if seconds <= (time.time() if now is None else now) + 60 else None
