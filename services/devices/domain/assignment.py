"""Who may command a device, and since when: the wave's owner and epoch, the fencing token of commands. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

BUCKETS = 1024


@dataclass(frozen=True, slots=True)
class Wave:
    """Buckets from `bucket_from` until before `bucket_to`; `owner` legacy, service or moving."""

    bucket_from: int
    bucket_to: int
    owner: str
    epoch: int


def bucket(device_id: int) -> int:
    """The bucket of a device (docs/architecture.md §3)."""
    digest = hashlib.md5(str(device_id).encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4]) % BUCKETS


def epoch_of(waves: Sequence[Wave], device_id: int) -> int:
    """The assignment epoch; 0 where no guard says anything: nobody else commands devices there."""
    place = bucket(device_id)
    return next((wave.epoch for wave in waves if wave.bucket_from <= place < wave.bucket_to), 0)
