"""Who owned each wave last, as far as any worker of this machine knows for certain.

A table that holds a wave names its owner from before. The end of the hold may never come (its controller is dead), and
the guard may have sent a write elsewhere meanwhile. A small file, mapped by all workers, keeps the newest word:

  1. a worker says here what a table says before it routes by it, and what a guard's 421 says before it sends the write
     on;
  2. where a hold has no force any more, a write goes to the owner that is named here;
  3. so each write that this node passed was accepted by a side that was named here before it was answered. The newest
     word, by its epoch, names a side that has them all: an owner opens only with everything that was accepted before.

With other nodes 3 does not hold, since their writes are not seen here: then nothing is certain, and reads wait for the
watermarks. Changes are made under a lock, and seldom; a read looks without one: the name of a slot is written last.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from gateway.control.table import RouteTable

Side = Literal["legacy", "service"]
SIDES: tuple[Side, Side] = ("legacy", "service")
SLOTS = 512  # waves; one that finds no place is not certain
SIZE = 16 * SLOTS


class Owners:
    """Two words a wave: a hash of its name; its epoch + 1, and the side in the lowest bit (0: nothing is known)."""

    def __init__(self, path: Path | None = None, *, alone: bool = True) -> None:
        """`alone`: no other node takes writes."""
        self._alone = alone
        self._file = path.open("a+b") if path is not None else None
        if self._file is None:
            self._map = mmap.mmap(-1, SIZE)
        else:
            with self._locked():
                if self._file.seek(0, 2) != SIZE:
                    self._file.truncate(SIZE)
            self._map = mmap.mmap(self._file.fileno(), SIZE)
        self._words = memoryview(self._map).cast("Q")

    def take(self, table: RouteTable) -> None:
        """Before anything is routed by it."""
        for name, domain in table.domains.items():
            for wave in domain.waves:
                if wave.owner != "moving":
                    self.learn(name, wave.wave, wave.owner, wave.epoch)

    def learn(self, domain: str, wave: int, owner: Side, epoch: int) -> None:
        """What is older than what is known changes nothing."""
        name, word = _name(domain, wave), (epoch + 1) << 1 | SIDES.index(owner)
        if self._known(name) >= word:
            return
        with self._locked():
            at = self._slot(name)
            if at is not None and (self._words[at] != name or self._words[at + 1] < word):
                self._words[at + 1] = word
                self._words[at] = name

    def newest(self, domain: str, wave: int | None, epoch: int) -> Side | None:
        """Of a wave whose table says `epoch`; None: not certain."""
        if not self._alone or wave is None:
            return None
        word = self._known(_name(domain, wave))
        return SIDES[word & 1] if word >> 1 > epoch else None

    def _known(self, name: int) -> int:
        at = self._slot(name)
        return self._words[at + 1] if at is not None and self._words[at] == name else 0

    def _slot(self, name: int) -> int | None:
        """Where the wave is, or would be."""
        for step in range(SLOTS):
            at = (name + step) % SLOTS * 2
            if self._words[at] in (0, name):
                return at
        return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _name(domain: str, wave: int) -> int:
    return int.from_bytes(blake2b(f"{domain}/{wave}".encode(), digest_size=8).digest()) | 1
