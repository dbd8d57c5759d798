"""The buckets that all workers and nodes share, in Redis: one atomic script for any number of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

PREFIX = b"banyan:limit:"
WITHIN = 0.25  # seconds; no request waits for it
LONGEST_BACKOFF = 2.0

# KEYS: buckets. ARGV, four of each: rate, burst, spent, the most there can be. Returns what is left of each.
_SPEND = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local left = {}
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local tokens = burst
  local there = redis.call('GET', key)
  if there then
    local space = string.find(there, ' ', 1, true)
    local since = now - tonumber(string.sub(there, space + 1))
    tokens = math.min(burst, tonumber(string.sub(there, 1, space - 1)) + math.max(0, since) * rate)
  end
  tokens = math.min(tokens - tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i]))
  local until_full = math.ceil((burst - tokens) / rate * 1000) + 1000
  redis.call('SET', key, string.format('%.6f %.6f', tokens, now), 'PX', until_full)
  left[i] = string.format('%.6f', tokens)
end
return left
"""

log = structlog.get_logger("gateway.limits")

Report = tuple[bytes, float, int, int, float]  # bucket, rate, burst, spent, the most there can be


class Shared:
    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url, socket_timeout=WITHIN, socket_connect_timeout=WITHIN)
        self._backoff = 0.0
        self.again_at = 0.0  # loop time before which Redis is not asked

    async def spend(self, reports: Sequence[Report]) -> list[float] | None:
        """What is left in each bucket; None when Redis does not answer in time."""
        keys = [PREFIX + bucket.hex().encode() for bucket, *_ in reports]
        arguments = [str(value) for _, *values in reports for value in values]
        try:
            async with asyncio.timeout(WITHIN):
                answer = await self._redis.eval(_SPEND, len(keys), *keys, *arguments)
        except (RedisError, OSError) as error:
            self._backoff = min(max(0.1, self._backoff * 2), LONGEST_BACKOFF)
            if not self.again_at:
                log.warning("redis is away, each worker counts alone", error=str(error) or type(error).__name__)
            self.again_at = asyncio.get_running_loop().time() + self._backoff
            return None
        self._backoff = self.again_at = 0.0
        return [float(left) for left in answer]

    async def close(self) -> None:
        await self._redis.aclose()
