"""Time and chance as the agent sees them: injected, so that tests own both."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, an aware UTC instant; may jump."""

    def monotonic(self) -> float:
        """Seconds that only grow; every duration is measured on them."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


AMSTERDAM = ZoneInfo("Europe/Amsterdam")
