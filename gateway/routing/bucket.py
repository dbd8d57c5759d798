"""The bucket of a partition key. The same function as SQL `banyan.bucket(text)`."""

from __future__ import annotations

from hashlib import md5

BUCKETS = 1024


def bucket(key: str) -> int:
    """First four bytes of md5(key), big-endian, modulo 1024. A spread, not a protection."""
    return int.from_bytes(md5(key.encode(), usedforsecurity=False).digest()[:4], "big") % BUCKETS
