"""Read your own writes: for a while after its write a client's reads go to the owner.

The board is a small file mapped by all workers of this machine: slot = hash(domain, identity), value = the wall-clock
microseconds of the newest write. Two clients that share a slot only get a pin too many, never one too few. A write that
names no client pins its whole domain: whoever made it cannot be told from the others. There is no lock because a slot
is one aligned 8-byte word, and a lost race between two writes of the same moment changes nothing.

With several nodes the board is `shared`: the relay (gateway/control/pinrelay.py) brings the other nodes' writes, and
says in the words after the slots until when they are complete. When they are not, any client may have written
elsewhere, and reads go to the owner.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from zlib import crc32

SLOTS = 1 << 16
# The words after the slots: wall-clock microseconds of the newest write of all (most reads need to look no further),
_NEWEST = SLOTS
_UNKNOWN = SLOTS + 1  # and up to which writes of other nodes may be missing on this board;
_TRUSTED = SLOTS + 2  # monotonic microseconds until which this board has what the other nodes have,
_ALONE = SLOTS + 3  # until which no other node trusts its board,
_HEARD = SLOTS + 4  # and of the relay's last sign of life that Redis took.
SIZE = 8 * (SLOTS + 5)
BLIND_SECONDS = 2.0  # how long a pin lasts when the watermark is not known
WHOLE_DOMAIN = b""  # no identity is empty
LONGEST_SECONDS = 30.0  # a sync that lags more than this is an incident, and the owner must not get all reads for it


class PinBoard:
    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
        *,
        shared: bool = False,
        skew: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`skew`: seconds by which the clocks of databases and gateways may differ; a watermark counts so much less."""
        if path is None:
            self._map = mmap.mmap(-1, SIZE)
        else:
            with path.open("a+b") as file:
                if file.seek(0, 2) != SIZE:
                    file.truncate(SIZE)
                self._map = mmap.mmap(file.fileno(), SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._clock = clock
        self._monotonic = monotonic
        self._shared = shared
        self._skew = skew
        self.watermarks: dict[str, float] = {}  # stream → wall-clock seconds up to which the other side has everything
        self._known: dict[str, float] = {}  # the same, and what was known last of streams that are not heard of

    def record(self, domain: str, identities: Collection[bytes]) -> list[int]:
        """A write of this client, or of nobody that is known, was accepted just now. The slots that say so."""
        slots = [_slot(domain, identity) for identity in identities or (WHOLE_DOMAIN,)]
        self.take(slots)
        return slots

    def take(self, slots: Iterable[int]) -> None:
        """Writes that were accepted not later than now, here or at another node: no clock but ours is asked."""
        now = int(self._clock() * 1e6)
        for slot in slots:
            self._words[slot] = now
        self._words[_NEWEST] = now

    def pinned(self, domain: str, owner: str, identities: Collection[bytes]) -> bool:
        """Must this client's read go to the owner?"""
        if self._shared and not self.trusted():
            return True
        written = self.newest(domain, (WHOLE_DOMAIN, *identities))
        if self._shared:
            written = max(written, self._words[_UNKNOWN] / 1e6)
        return self._is_without(self._known.get(_stream(domain, owner)), written)

    def last_write(self, domain: str, owner: str, identities: Collection[bytes]) -> float:
        """Of what this client may have written, for a read that the owner cannot answer; 0: nothing.

        Writes of nobody known, and of nodes not heard, count only where a watermark can tell when the other side has
        them: without one they would keep everybody from that side for as long as they go on.
        """
        if self._watermark(domain, owner) is None:
            return self.newest(domain, identities)
        return max(self._words[_UNKNOWN] / 1e6, self.newest(domain, (WHOLE_DOMAIN, *identities)))

    def newest(self, domain: str, identities: Collection[bytes]) -> float:
        """Wall-clock seconds; 0: none."""
        return max((self._words[_slot(domain, identity)] for identity in identities), default=0) / 1e6

    def is_ahead(self, domain: str, owner: str, written: float) -> bool:
        """May the side that is not the owner still be without a write of that time?

        A stream that is not heard of any more has had time enough after `BLIND_SECONDS`: this is asked for a read that
        the owner cannot answer, and has nowhere else to go. A read that has goes by what was known last (`pinned`).
        """
        return self._is_without(self._watermark(domain, owner), written)

    def _is_without(self, watermark: float | None, written: float) -> bool:
        if not written:
            return False
        age = self._clock() - written
        if watermark is None:
            return age < BLIND_SECONDS
        return watermark <= written + self._skew and age < LONGEST_SECONDS

    def take_watermarks(self, watermarks: Mapping[str, float]) -> None:
        """Of all streams that are heard of; none when Redis is away."""
        self.watermarks = dict(watermarks)
        self._known |= watermarks

    def _watermark(self, domain: str, owner: str) -> float | None:
        return self.watermarks.get(_stream(domain, owner))

    def quiet(self) -> bool:
        """Nobody has written lately, so nobody is pinned."""
        words = self._words
        if self._shared and not (self.trusted() and self._clock() - words[_UNKNOWN] / 1e6 > LONGEST_SECONDS):
            return False
        return self._clock() - words[_NEWEST] / 1e6 > LONGEST_SECONDS

    # several nodes

    def trusted(self) -> bool:
        """What other nodes were told to have written is on this board."""
        return self._monotonic() < self._words[_TRUSTED] / 1e6

    def alone(self) -> bool:
        """Nobody else has to be told of a write."""
        return not self._shared or self._monotonic() < self._words[_ALONE] / 1e6

    def heard(self) -> float:
        """Monotonic seconds of the relay's last sign of life that Redis took; 0: none."""
        return self._words[_HEARD] / 1e6

    def heard_at(self, at: float) -> None:
        self._words[_HEARD] = int(at * 1e6)

    def trust(self, until: float, *, alone: bool, after_a_gap: bool) -> None:
        """Monotonic seconds. `after_a_gap`: what other nodes wrote before this moment may be missing for ever."""
        if after_a_gap:
            self._words[_UNKNOWN] = int(self._clock() * 1e6)
        self._words[_TRUSTED] = int(until * 1e6)
        self._words[_ALONE] = int(until * 1e6) if alone else 0

    def distrust(self) -> None:
        """The words of a relay that ended say nothing: another boot of the machine has another monotonic clock."""
        self._words[_TRUSTED] = self._words[_ALONE] = self._words[_HEARD] = 0


def _stream(domain: str, owner: str) -> str:
    return f"{domain}.{'reverse' if owner == 'service' else 'forward'}"


def _slot(domain: str, identity: bytes) -> int:
    return crc32(identity, crc32(domain.encode())) % SLOTS
