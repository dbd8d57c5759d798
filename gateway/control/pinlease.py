"""A node's lease to trust its board of pins: signs of life through Redis, and who else is there.

Part of the proof in `pinrelay`:

1. A node publishes a sign of life every `BEAT_SECONDS` and registers itself in the same step. When its own sign comes
   back over its subscription, everything that was published before has come too: it trusts its board until one lease
   after it *sent* the sign.
3. A node trusts nothing before it has been registered for two leases: by then every writer's node knows it.
4. A node that is registered, and not heard of for two leases, may be cut off from Redis and take writes that it can
   tell nobody. Nobody trusts a board while one is missing; after `MISSING_SECONDS` it is taken for dead.
5. What was published while a node was not subscribed never comes: when it trusts again it takes every write of before
   for unknown, and reads go to the owner until the watermark has passed that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Sequence

from redis.asyncio import Redis

from gateway.policies.pins import PinBoard
from gateway.policies.sharing import LEASE_SECONDS, MOST_SECONDS

NODES = "banyan:nodes"
BEAT_SECONDS = 0.1
MISSING_SECONDS = 300.0

# KEYS[1] the nodes; ARGV node, channel, message, milliseconds after which a node is forgotten.
_SIGN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])
redis.call('PUBLISH', ARGV[2], ARGV[3])
local found = {now}
for _, value in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do table.insert(found, value) end
return found
"""


class Lease:
    def __init__(self, board: PinBoard, redis: Redis, node: str, channel: str) -> None:
        self._board = board
        self._redis = redis
        self._node = node
        self._channel = channel
        self._seen: dict[str, float] = {}  # other node → when it was last among the registered
        self._echo = asyncio.Event()
        self._wanted_echo = b""
        self._joined = 0.0  # when our first sign came back; 0: not yet
        self._alone_since = 0.0
        self._gap = True
        self.connected = 0.0  # since when we are subscribed, monotonic seconds; 0: Redis is away
        board.distrust()
        board.heard_at(time.monotonic())  # one before us may have been, until now

    def begin(self) -> None:
        """We have subscribed just now, and may have missed what was published before."""
        self.connected, self._joined, self._alone_since, self._gap = time.monotonic(), 0.0, 0.0, True

    def lose(self) -> None:
        """Redis is away: what we trust runs out by itself."""
        self.connected = 0.0

    def others(self, now: float) -> frozenset[str] | None:
        """Who has to have a write of ours; None: nobody knows."""
        knows = now - self.connected > 2 * LEASE_SECONDS and now - self._board.heard() < LEASE_SECONDS
        return frozenset(n for n, at in self._seen.items() if now - at < MOST_SECONDS) if knows else None

    def knows(self, node: str) -> bool:
        return node in self._seen

    def came_back(self, echo: bytes) -> None:
        if echo == self._wanted_echo:
            self._echo.set()

    def left(self, node: str) -> None:
        """It has said goodbye."""
        self._seen.pop(node, None)

    async def live(self) -> None:
        """Give signs of life for ever. Raises what Redis raises."""
        while True:
            sent = time.monotonic()
            self._wanted_echo = secrets.token_hex(4).encode()
            self._echo.clear()
            message = b"sign " + self._wanted_echo
            forgotten = str(int(MISSING_SECONDS * 1000))
            reply = await self._redis.eval(_SIGN, 1, NODES, self._node, self._channel, message, forgotten)
            self._board.heard_at(sent)
            missing = self._take_nodes(reply)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_SECONDS):
                    await self._echo.wait()
                self._extend(sent, missing)
            await asyncio.sleep(max(0.0, sent + BEAT_SECONDS - time.monotonic()))

    def _take_nodes(self, reply: Sequence[bytes | int]) -> bool:
        """Is one missing?"""
        now, at = int(reply[0]), time.monotonic()
        missing = False
        for name, score in zip(reply[1::2], reply[2::2], strict=True):
            node = name.decode() if isinstance(name, bytes) else str(name)
            if node == self._node:
                continue
            if now - float(score) > 2000 * LEASE_SECONDS:
                missing = True
            else:
                self._seen[node] = at
        for node in [node for node, seen in self._seen.items() if at - seen > MOST_SECONDS]:
            del self._seen[node]
        return missing

    def _extend(self, sent: float, missing: bool) -> None:
        """Our sign, sent then, has come back."""
        now = time.monotonic()
        self._joined = self._joined or now
        if missing or self._seen:
            self._alone_since = 0.0
        else:
            self._alone_since = self._alone_since or sent
        if missing:
            self._gap = True
        elif now - self._joined > 2 * LEASE_SECONDS and now < sent + LEASE_SECONDS:
            alone = bool(self._alone_since) and sent - self._alone_since > 2 * LEASE_SECONDS
            self._board.trust(sent + LEASE_SECONDS, alone=alone, after_a_gap=self._gap)
            self._gap = False
