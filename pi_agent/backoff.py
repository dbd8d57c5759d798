"""When to try again: full-jitter backoff, the server's Retry-After, and a phase that keeps a fleet out of step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Draws uniformly from [low, high].
Uniform = Callable[[float, float], float]

#: A server that asks for more than an hour is asked again after one.
MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """`uniform(0, min(cap, base * 2**failures))` (full jitter)."""

    base_s: float
    cap_s: float

    def delay(self, failures: int, uniform: Uniform, retry_after: float | None = None) -> float:
        """Seconds to wait after so many failures in a row; never less than the server asked for.

        Beside Retry-After the jitter is added, so that those who were told the same time do not come at the same time.
        """
        jitter = uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures, 30)))
        return jitter if retry_after is None else retry_after + jitter


def phase(device_id: int, interval_s: float) -> float:
    """This device's stable place within the interval."""
    digest = hashlib.sha256(f"phase:{device_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * interval_s


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds, from either form of RFC 9110 §10.2.3; None when absent or unreadable."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), MAX_RETRY_AFTER_S)
