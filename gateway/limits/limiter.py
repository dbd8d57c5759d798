"""Decides at once whether a request is within its limits; tells Redis a moment later what was spent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.facade.refusal import refuse
from gateway.limits.bucket import Bucket
from gateway.limits.rules import Limits, Policy

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange
    from gateway.limits.shared import Shared
    from gateway.meter import Meter

SYNC_SECONDS = 0.02  # between a token spent and Redis told of it
MOST_BUCKETS = 20_000  # of one worker; the longest unused one goes first, and is found again in Redis
MOST_REPORTED = 500  # buckets in one call of the script


class Limiter:
    def __init__(self, redis_url: str | None, meter: Meter, loop: asyncio.AbstractEventLoop) -> None:
        self._meter = meter
        self._loop = loop
        self._redis_url = redis_url
        self._shared: Shared | None = None  # made when there is first something to tell
        self._buckets: OrderedDict[bytes, Bucket] = OrderedDict()
        self._dirty: set[bytes] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._syncing: asyncio.Task[None] | None = None

    def refuses(self, exchange: Exchange, limits: Limits) -> bool:
        """Takes a token of every limit, or none and answers 429. Never waits."""
        now = self._loop.time()
        named = [(policy, policy.bucket_of(exchange)) for policy in limits]
        found = [(policy, self._bucket(name, policy, now)) for policy, name in named]
        empty = [(policy, bucket) for policy, bucket in found if bucket.level(now) < 1]
        if not empty:
            for (_, name), (_, bucket) in zip(named, found, strict=True):
                bucket.take()
                self._dirty.add(name)
            self._plan_sync()
        exchange.notes += _told(found)
        if not empty:
            return False
        seconds = max(bucket.wait() for _, bucket in empty)
        self._meter.count(exchange.route.domain, "limited")
        which = ", ".join(policy.name for policy, _ in empty)
        extra = b"Retry-After: %d\r\n" % seconds + exchange.notes
        refuse(exchange, 429, f"too many requests (limit {which}): try again in {seconds} s", extra)
        return True

    def _bucket(self, name: bytes, policy: Policy, now: float) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(policy.rate, policy.burst, now)
            if len(self._buckets) > MOST_BUCKETS:
                self._dirty.discard(self._buckets.popitem(last=False)[0])
        else:
            bucket.rate, bucket.burst = policy.rate, policy.burst  # a newer table may have changed them
            self._buckets.move_to_end(name)
        return bucket

    # with the other workers

    def _plan_sync(self) -> None:
        if self._redis_url is None or self._timer is not None or self._syncing is not None:
            return
        if self._shared is None:
            from gateway.limits.shared import Shared  # brings redis: not for workers without limits

            self._shared = Shared(self._redis_url)
        pause = max(SYNC_SECONDS, self._shared.again_at - self._loop.time())
        self._timer = self._loop.call_later(pause, self._begin_sync)

    def _begin_sync(self) -> None:
        self._timer = None
        self._syncing = self._loop.create_task(self._sync())

    async def _sync(self) -> None:
        assert self._shared is not None
        try:
            names = [name for name in list(self._dirty)[:MOST_REPORTED] if name in self._buckets]
            self._dirty.difference_update(names)
            now = self._loop.time()
            buckets = [self._buckets[name] for name in names]
            reports = [(name, b.rate, b.burst, *b.report(now)) for name, b in zip(names, buckets, strict=True)]
            left = await self._shared.spend(reports)
            if left is None:
                self._dirty.update(names)
                for bucket in buckets:
                    bucket.lose()
            else:
                now = self._loop.time()
                for bucket, tokens in zip(buckets, left, strict=True):
                    bucket.agree(tokens, now)
        finally:
            self._syncing = None
        if self._dirty:
            self._plan_sync()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close()


def _told(found: list[tuple[Policy, Bucket]]) -> bytes:
    """The RateLimit header fields of draft-ietf-httpapi-ratelimit-headers-10."""
    policies = b", ".join(policy.told for policy, _ in found)
    left = b", ".join(
        b'"%b";r=%d;t=%d' % (policy.name.encode(), max(0, int(bucket.tokens)), bucket.full_in())
        for policy, bucket in found
    )
    return b"RateLimit-Policy: " + policies + b"\r\nRateLimit: " + left + b"\r\n"
