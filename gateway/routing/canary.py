"""Which buckets of a wave a canary takes first: in an order of the domain's own, so that its share only grows.

The bucket of a key is the same everywhere (databases, streams, gateway). Within a wave each domain takes its buckets in
another order: those who are first in one domain's canary are not first in every other's.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import md5


@lru_cache(maxsize=1024)
def order(domain: str, bucket_from: int, bucket_to: int) -> tuple[int, ...]:
    """The wave's buckets, first comers first; the same on every node and after every restart."""

    def place(bucket: int) -> bytes:
        return md5(f"{domain}/{bucket}".encode(), usedforsecurity=False).digest()

    return tuple(sorted(range(bucket_from, bucket_to), key=place))


def taken(domain: str, bucket_from: int, bucket_to: int, percent: float) -> frozenset[int]:
    """The buckets of a canary of `percent`: of any two, the smaller is a part of the larger."""
    size = bucket_to - bucket_from
    count = min(size, -int(-percent * size // 100))  # rounded up: a canary of more than nothing takes somebody
    return frozenset(order(domain, bucket_from, bucket_to)[:count])
