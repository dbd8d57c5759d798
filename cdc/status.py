"""What a running stream knows about itself, shared between its threads."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cdc import alarms
from cdc.apply.applier import Applied
from cdc.capture.slot import Slot
from cdc.change import lsn_text
from cdc.snapshot.progress import Progress

# Without news for so long, the time since counts as lag, seconds (heartbeats come many times a second).
FRESH = 2.5
# The rate is taken over the last so many seconds.
RATE_WINDOW = 10.0
# Upper bounds of the histogram of rows in one transaction of the target.
BATCHES = (1, 10, 100, 1_000, 10_000, 100_000)


@dataclass(slots=True)
class Batches:
    """How many rows the target's transactions had: counts per bound of BATCHES and beyond, and the sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BATCHES) + 1))
    rows: int = 0

    def note(self, rows: int) -> None:
        self.counts[bisect_left(BATCHES, rows)] += 1
        self.rows += rows


@dataclass(slots=True)
class Status:
    stream: str
    state: str = "starting"
    problem: str = ""
    parked: int = 0
    foreign: int = 0
    rows: int = 0
    snapshot_rows: int = 0
    restarts: int = 0
    transactions: int = 0
    batches: Batches = field(default_factory=Batches)
    paused: bool = False
    slot_name: str = ""
    slot: Slot | None = None
    slot_known: bool = False
    source_lsn: int = 0
    orphans: int | None = None  # None: not looked for yet
    lost_tables: str = ""
    published: int = 0
    applied: Applied | None = None
    snapshot: Progress | None = None
    changed: threading.Event = field(default_factory=threading.Event)
    _news_at: float = 0.0
    _history: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, applied: Applied, parked: int) -> None:
        now = time.monotonic()
        self.applied, self.parked, self._news_at = applied, parked, now
        self.rows += applied.rows
        self.transactions += applied.transactions
        if applied.rows:
            self.batches.note(applied.rows)
            self._history.append((now, applied.rows))
        while self._history and now - self._history[0][0] > RATE_WINDOW:
            self._history.popleft()
        self.changed.set()

    def age(self) -> float:
        """Seconds since the watermark moved."""
        return time.monotonic() - self._news_at if self._news_at else float("inf")

    def lag_ms(self) -> float | None:
        if self.applied is None:
            return None
        age = self.age()
        return round(self.applied.lag_ms + (age * 1000 if age > FRESH else 0.0), 3)

    def lag_bytes(self) -> int:
        """WAL between the source's end, as of the last heartbeat, and the position applied."""
        return max(0, self.source_lsn - self.applied.lsn) if self.applied is not None else 0

    def rate(self) -> float:
        """Rows per second over the last seconds."""
        since = time.monotonic() - RATE_WINDOW
        rows = sum(count for at, count in tuple(self._history) if at >= since)
        return round(rows / RATE_WINDOW, 1)

    def ready(self) -> bool:
        """A stream that is over has nothing left to do."""
        return self.state == "retired" or (self.state == "streaming" and self.age() < RATE_WINDOW)

    @property
    def wal_status(self) -> str:
        if not self.slot_known:
            return ""
        return (self.slot.wal_status or "reserved") if self.slot is not None else "missing"

    def alarms(self) -> list[alarms.Alarm]:
        found = (
            alarms.of_slot(self.slot_name, self.slot)
            if self.slot_known and self.state not in ("snapshot", "retired")
            else []
        )
        if self.state == "halted":
            found.append(alarms.Alarm("halted", "critical", self.problem))
        if self.parked:
            words = f"{self.parked} keys are parked: `python -m cdc parked list --stream {self.stream}`"
            found.append(alarms.Alarm("parked", "warning", words))
        if self.foreign:
            words = f"{self.foreign} foreign commits: `python -m cdc foreign list --stream {self.stream}`"
            found.append(alarms.Alarm("foreign-writer", "critical", words))
        return found

    def watermark(self) -> dict[str, Any] | None:
        """As it stands in Redis (docs/architecture.md §8). None while the target is not filled: it lacks older rows."""
        if self.applied is None or self.state == "snapshot":
            return None
        return {
            "lsn": lsn_text(self.applied.lsn),
            "commit_at": self.applied.commit_at.isoformat(),
            "applied_at": self.applied.applied_at.isoformat(),
            "lag_ms": self.lag_ms(),
        }

    def document(self) -> dict[str, Any]:
        watermark = self.watermark()
        return {
            "stream": self.stream,
            "state": self.state,
            "problem": self.problem,
            "lag_ms": self.lag_ms(),
            "lag_bytes": self.lag_bytes(),
            "applied_lsn": watermark["lsn"] if watermark else None,
            "commit_at": watermark["commit_at"] if watermark else None,
            "applied_at": watermark["applied_at"] if watermark else None,
            "rows": self.rows,
            "snapshot_rows": self.snapshot_rows,
            "snapshot": progress.document() if (progress := self.snapshot) is not None else None,
            "parked": self.parked,
            "foreign": self.foreign,
            "orphans": self.orphans,
            "rate": self.rate(),
            "restarts": self.restarts,
            "paused": self.paused,
            "transactions": self.transactions,
            "wal_status": self.wal_status,
            "retained_bytes": self.slot.retained if self.slot is not None else 0,
            "unconfirmed_bytes": self.slot.unconfirmed if self.slot is not None else 0,
            "room_bytes": self.slot.room if self.slot is not None else None,
            "failover": self.slot.failover if self.slot is not None else False,
            "alarms": [msgspec.structs.asdict(alarm) for alarm in self.alarms()],
        }
