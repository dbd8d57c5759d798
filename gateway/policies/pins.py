"""Read your own writes: for a while after its write a client's reads go to the owner.

The board is a small file mapped by all workers of this machine: slot = hash(domain, identity), value = the wall-clock
microseconds of the newest write. Two clients that share a slot only get a pin too many, never one too few. A write that
names no client pins its whole domain: whoever made it cannot be told from the others. There is no lock because a slot
is one aligned 8-byte word, and a lost race between two writes of the same moment changes nothing.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Collection
from pathlib import Path
from zlib import crc32

SLOTS = 1 << 16
SIZE = 8 * (SLOTS + 1)  # the last word is the newest write of all: most reads need to look no further
BLIND_SECONDS = 2.0  # how long a pin lasts when the watermark is not known
WHOLE_DOMAIN = b""  # no identity is empty
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

    def record(self, domain: str, identities: Collection[bytes]) -> None:
        """A write of this client, or of nobody that is known, was accepted just now."""
        now = int(self._clock() * 1e6)
        for identity in identities or (WHOLE_DOMAIN,):
            self._words[_slot(domain, identity)] = now
            self._words[SLOTS] = now

    def pinned(self, domain: str, owner: str, identities: Collection[bytes]) -> bool:
        """Must this client's read go to the owner?"""
        return self.is_ahead(domain, owner, self.newest(domain, (WHOLE_DOMAIN, *identities)))

    def last_write(self, domain: str, owner: str, identities: Collection[bytes]) -> float:
        """Of what this client may have written, for a read that the owner cannot answer; 0: nothing.

        Writes of nobody known count only where a watermark can tell when the other side has them: without one they
        would keep everybody from that side for as long as they go on.
        """
        anonymous = (WHOLE_DOMAIN,) if self._watermark(domain, owner) is not None else ()
        return self.newest(domain, (*anonymous, *identities))

    def newest(self, domain: str, identities: Collection[bytes]) -> float:
        """Wall-clock seconds; 0: none."""
        return max((self._words[_slot(domain, identity)] for identity in identities), default=0) / 1e6

    def is_ahead(self, domain: str, owner: str, written: float) -> bool:
        """May the side that is not the owner still be without a write of that time?"""
        if not written:
            return False
        age = self._clock() - written
        watermark = self._watermark(domain, owner)
        if watermark is None:
            return age < BLIND_SECONDS
        return watermark <= written and age < LONGEST_SECONDS

    def _watermark(self, domain: str, owner: str) -> float | None:
        return self.watermarks.get(f"{domain}.{'reverse' if owner == 'service' else 'forward'}")

    def quiet(self) -> bool:
        """Nobody has written lately, so nobody is pinned."""
        return self._clock() - self._words[SLOTS] / 1e6 > LONGEST_SECONDS


def _slot(domain: str, identity: bytes) -> int:
    return crc32(identity, crc32(domain.encode())) % SLOTS
