"""The servers of one upstream, and which of them gets the next request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import random
from typing import Any

from gateway.control.resilience import Outliers
from gateway.http1.endpoint import Endpoint, PoolLimits
from gateway.policies.outlier import Replicas
from gateway.policies.shedding import Limiter
from gateway.tls import Secure


class _Judge:
    """Tells the pool."""

    __slots__ = ("_index", "_pool")

    def __init__(self, pool: Pool, index: int) -> None:
        self._pool = pool
        self._index = index

    def failed(self) -> None:
        self._pool.on_failure(self._index)

    def succeeded(self) -> None:
        self._pool.on_success(self._index)


class Pool:
    """The servers of one upstream. Of two that may get requests, picked at random, the less busy one is taken."""

    def __init__(
        self,
        urls: Sequence[str],
        health: str,
        limits: PoolLimits,
        clock: Callable[[], float],
        secure: Secure | None = None,
        *,
        outliers: Outliers | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self.urls = tuple(urls)
        self.health = health
        self.limiter = limiter
        self.endpoints = [Endpoint(url, limits, clock, secure) for url in urls]
        self.replicas: Replicas | None = None
        self._clock = clock
        self._usable = self.endpoints
        self._review_at = 0.0  # when to look anew who may get requests
        self._only = self.endpoints[0] if len(self.endpoints) == 1 else None
        if self._only is None:
            self.replicas = Replicas(len(urls), outliers or Outliers(), clock)
            for index, endpoint in enumerate(self.endpoints):
                endpoint.index = index
                endpoint.judge = _Judge(self, index)

    @property
    def healthy(self) -> bool:
        return self._only.healthy if self._only is not None else any(e.healthy for e in self.endpoints)

    @property
    def roomy(self) -> bool:
        return any(endpoint.roomy for endpoint in self.endpoints)

    def pick(self, avoid: Endpoint | None = None) -> Endpoint:
        """`avoid`: the server that just failed this request; it gets it again only when there is no other."""
        if self._only is not None:
            return self._only
        if self._clock() >= self._review_at:
            self._review()
        usable = self._usable
        if avoid is not None and len(usable) > 1:
            usable = [endpoint for endpoint in usable if endpoint is not avoid]
        size = len(usable)
        if size == 1:
            return usable[0]
        first = int(random() * size)  # noqa: S311
        second = int(random() * (size - 1))  # noqa: S311
        one, other = usable[first], usable[second + (second >= first)]
        return one if self._load(one) <= self._load(other) else other

    def _load(self, endpoint: Endpoint) -> float:
        assert self.replicas is not None
        return (endpoint.busy + 1) / self.replicas.weight(endpoint.index)

    def _review(self) -> None:
        assert self.replicas is not None
        self._usable = [self.endpoints[index] for index in self.replicas.usable()]
        self._review_at = self.replicas.next_return()

    def on_failure(self, index: int) -> None:
        if self.replicas is not None and self.replicas.failed(index):
            self._review()

    def on_success(self, index: int) -> None:
        if self.replicas is not None:
            self.replicas.succeeded(index)

    def on_health(self, index: int, healthy: bool) -> None:
        """What the health check found, when that has changed."""
        self.endpoints[index].healthy = healthy
        if self.replicas is not None:
            if healthy:
                self.replicas.came_up(index)
            else:
                self.replicas.went_down(index)
            self._review()

    def snapshot(self) -> dict[str, Any]:
        out = 0
        if self.replicas is not None:
            out = sum(self.replicas.is_out(index) for index in range(len(self.endpoints)))
        return {
            "servers": len(self.endpoints),
            "healthy": sum(endpoint.healthy for endpoint in self.endpoints),
            "ejected": out,
            "ejections": self.replicas.ejections if self.replicas is not None else 0,
            "limit": None if self.limiter is None else round(self.limiter.limit, 1),
        }

    def reap(self) -> None:
        for endpoint in self.endpoints:
            endpoint.reap()

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.close()
