"""The bucket of a partition key. The same function as SQL `banyan.bucket(text)`."""

from __future__ import annotations

from functools import lru_cache
from hashlib import md5

BUCKETS = 1024
MOST_KNOWN = 8192  # keys; who asked a moment ago asks again, and the access log asks for the same one


@lru_cache(maxsize=MOST_KNOWN)
def bucket(key: str) -> int:
    """First four bytes of md5(key), big-endian, modulo 1024. A spread, not a protection."""
    return int.from_bytes(md5(key.encode(), usedforsecurity=False).digest()[:4], "big") % BUCKETS
