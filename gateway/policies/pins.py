"""Read your own writes: for a while after its write a client's reads go to the owner.

The board is a small file mapped by all workers of this machine: slot = hash(domain, identity), value = the wall-clock
microseconds of the newest write. Two clients that share a slot only get a pin too many, never one too few; there is no
lock because a slot is one aligned 8-byte word, and a lost race between two writes of the same moment changes nothing.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from zlib import crc32

SLOTS = 1 << 16
SIZE = 8 * (SLOTS + 1)  # the last word is the newest write of all: most reads need to look no further
BLIND_SECONDS = 2.0  # how long a pin lasts when the watermark is not known
LONGEST_SECONDS = 30.0  # a sync that lags more than this is an incident, and the owner must not get all reads for it


class PinBoard:
    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        if path is None:
            self._map = mmap.mmap(-1, SIZE)
        else:
            with path.open("a+b") as file:
                if file.seek(0, 2) != SIZE:
                    file.truncate(SIZE)
                self._map = mmap.mmap(file.fileno(), SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._clock = clock
        self.watermarks: dict[str, float] = {}  # stream → wall-clock seconds up to which the other side has everything

    def record(self, domain: str, identities: Iterable[bytes]) -> None:
        """A write of this client was accepted just now."""
        now = int(self._clock() * 1e6)
        for identity in identities:
            self._words[_slot(domain, identity)] = now
            self._words[SLOTS] = now

    def pinned(self, domain: str, owner: str, identities: Iterable[bytes]) -> bool:
        """Must this client's read go to the owner?"""
        newest = max((self._words[_slot(domain, identity)] for identity in identities), default=0) / 1e6
        if not newest:
            return False
        age = self._clock() - newest
        watermark = self.watermarks.get(f"{domain}.{'reverse' if owner == 'service' else 'forward'}")
        if watermark is None:
            return age < BLIND_SECONDS
        return watermark <= newest and age < LONGEST_SECONDS

    def quiet(self) -> bool:
        """Nobody has written lately, so nobody is pinned."""
        return self._clock() - self._words[SLOTS] / 1e6 > LONGEST_SECONDS


def _slot(domain: str, identity: bytes) -> int:
    return crc32(identity, crc32(domain.encode())) % SLOTS
