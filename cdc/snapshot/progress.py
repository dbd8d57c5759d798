"""How far a snapshot is, how fast, and when it will be done; shared between threads. The clock is passed in."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# The rate is taken over the last so many seconds.
RATE_WINDOW = 10.0


@dataclass(slots=True)
class Progress:
    """Of everything that is asked for now. `expected` is the planner's guess: it may turn out too low."""

    expected: int = 0
    rows: int = 0
    removed: int = 0
    table: str = ""
    step: str = ""
    waits: str | None = None
    tables_left: int = 0
    clock: Callable[[], float] = time.monotonic
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._marks.append((self.clock(), self.rows))

    def add(self, rows: int) -> None:
        now = self.clock()
        with self._lock:
            self.rows += rows
            self._marks.append((now, self.rows))
            while len(self._marks) > 2 and now - self._marks[0][0] > RATE_WINDOW:
                self._marks.popleft()

    def rate(self) -> float:
        """Rows a second of late."""
        with self._lock:
            at, rows = self._marks[0]
            spent = self.clock() - at
            return (self.rows - rows) / spent if spent > 0 else 0.0

    def eta_s(self) -> float | None:
        """None while nobody can tell."""
        rate = self.rate()
        return max(0, self.expected - self.rows) / rate if rate > 0 and self.expected else None

    def document(self) -> dict[str, Any]:
        eta = self.eta_s()
        return {
            "table": self.table,
            "step": self.step,
            "rows": self.rows,
            "expected": max(self.expected, self.rows),
            "removed": self.removed,
            "rate": round(self.rate(), 1),
            "eta_s": None if eta is None else round(eta, 1),
            "waits": self.waits,
            "tables_left": self.tables_left,
        }
