"""Which partition a key has. Pure.

As kafka-python's own, but by words of four bytes, which takes half the time: each row that is sent has a key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any

_SEED, _MIX, _BITS = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


def partition(key: bytes, partitions: int) -> int:
    """murmur2 of the key's bytes, its sign bit cleared, modulo the number of partitions: what Kafka's own clients do,
    so a connector that writes the same keys chooses the same partitions.
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """Of 32 bits, without a sign."""
    size, left = len(key), len(key) & 3
    found = _SEED ^ size
    for word in _words(size >> 2)(key):
        word = word * _MIX & _BITS
        found = (found * _MIX & _BITS) ^ ((word ^ word >> 24) * _MIX & _BITS)
    if left:
        found = (found ^ int.from_bytes(key[-left:], "little")) * _MIX & _BITS
    found = (found ^ found >> 13) * _MIX & _BITS
    return found ^ found >> 15


@lru_cache(64)
def _words(number: int) -> Callable[[bytes], tuple[Any, ...]]:
    return Struct(f"<{number}I").unpack_from
