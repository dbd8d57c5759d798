"""A domain's waves must cover every bucket once, or a row would be owned by nobody or by two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdc.guard.errors import GuardError

BUCKETS = 1024


@dataclass(frozen=True, slots=True)
class Wave:
    """A half-open bucket range."""

    wave: int
    bucket_from: int = 0
    bucket_to: int = BUCKETS


WHOLE = (Wave(0),)


def require_cover(domain: str, waves: Sequence[Wave]) -> None:
    """Raises: GuardError."""
    if len({wave.wave for wave in waves}) != len(waves):
        raise GuardError(f"two waves of {domain} have the same number")
    edge = 0
    for wave in sorted(waves, key=lambda wave: wave.bucket_from):
        if wave.bucket_from != edge or wave.bucket_to <= wave.bucket_from:
            raise GuardError(
                f"wave {wave.wave} of {domain} is {wave.bucket_from} to {wave.bucket_to}, but must go on from {edge}"
            )
        edge = wave.bucket_to
    if edge != BUCKETS:
        raise GuardError(f"the waves of {domain} end at bucket {edge}, but must reach {BUCKETS}")
