"""Adds up the workers' counters, over restarts of a worker, and turns growth into rates and percentiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.control.compared import Compared
from gateway.meter import BOUNDS

WINDOW_SECONDS = 5.0

CellKey = tuple[str, str, str]  # domain, side, operation


@dataclass(slots=True)
class Cell:
    classes: list[int] = field(default_factory=lambda: [0] * 6)
    histogram: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, classes: Sequence[int], histogram: Sequence[int], seconds: float) -> None:
        self.classes = [a + b for a, b in zip(self.classes, classes, strict=True)]
        self.histogram = [a + b for a, b in zip(self.histogram, histogram, strict=True)]
        self.seconds += seconds

    @property
    def count(self) -> int:
        return sum(self.classes)


@dataclass(slots=True)
class Totals:
    """Counters of any number of workers."""

    cells: dict[CellKey, Cell] = field(default_factory=dict)
    events: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    shadow: dict[tuple[str, str, str], Compared] = field(default_factory=dict)  # by domain, operation, mark
    refusing: set[str] = field(default_factory=set)

    def add(self, snapshot: dict[str, Any]) -> None:
        for c in snapshot["cells"]:
            key = (c["domain"], c["side"], c["operation"])
            self.cells.setdefault(key, Cell()).add(c["classes"], c["histogram"], c["seconds"])
        for e in snapshot["events"]:
            key2 = (e["domain"], e["event"])
            self.events[key2] = self.events.get(key2, 0) + e["count"]
        for status, count in snapshot["refused"].items():
            self.refused[status] = self.refused.get(status, 0) + count
        for o in snapshot["shadow"]["operations"]:
            self.shadow.setdefault((o["domain"], o["operation"], o["mark"]), Compared()).add(o)
        self.refusing.update(snapshot["shadow"].get("refusing", ()))

    def side(self, domain: str, side: str) -> Cell:
        """All operations of a side together."""
        total = Cell()
        for (d, s, _), cell in self.cells.items():
            if d == domain and s == side:
                total.add(cell.classes, cell.histogram, cell.seconds)
        return total

    def event(self, domain: str, event: str) -> int:
        return self.events.get((domain, event), 0)


class Figures:
    """The newest snapshot of each worker, what dead ones left, and a few seconds of history."""

    def __init__(self) -> None:
        self._last: dict[int, dict[str, Any]] = {}
        self._ended: list[dict[str, Any]] = []
        self._history: deque[tuple[float, Totals]] = deque()

    def take(self, now: float, snapshots: Sequence[dict[str, Any] | None]) -> None:
        """The answers of all workers, in order."""
        for index, snapshot in enumerate(snapshots):
            if snapshot is None:
                continue
            known = self._last.get(index)
            if known is not None and known["pid"] != snapshot["pid"]:
                self._ended.append(known)
            self._last[index] = snapshot
        self._fold()
        if not self._history or now - self._history[-1][0] >= 0.2:
            self._history.append((now, self.totals()))
        while len(self._history) > 2 and self._history[0][0] < now - WINDOW_SECONDS:
            self._history.popleft()

    def _fold(self) -> None:
        """Workers that ended become one, so that restarts do not pile up."""
        if len(self._ended) > 1:
            total = Totals()
            for snapshot in self._ended:
                total.add(snapshot)
            self._ended = [as_snapshot(total)]

    def totals(self) -> Totals:
        total = Totals()
        for snapshot in (*self._ended, *self._last.values()):
            total.add(snapshot)
        return total

    def live(self) -> Iterable[dict[str, Any]]:
        return self._last.values()

    def rates(self, domain: str, side: str) -> dict[str, float | None]:
        """Over the last few seconds; percentiles are None when there was nothing to measure."""
        if len(self._history) < 2:
            return {"per_s": 0.0, "p50_ms": None, "p99_ms": None, "errors_per_s": 0.0}
        (begin, old), (end, new) = self._history[0], self._history[-1]
        was, now = old.side(domain, side), new.side(domain, side)
        span = max(end - begin, 1e-3)
        grown = [b - a for a, b in zip(was.histogram, now.histogram, strict=True)]
        return {
            "per_s": round((now.count - was.count) / span, 2),
            "p50_ms": percentile_ms(grown, 0.50),
            "p99_ms": percentile_ms(grown, 0.99),
            "errors_per_s": round((now.classes[5] - was.classes[5]) / span, 2),
        }


def percentile_ms(histogram: Sequence[int], share: float) -> float | None:
    """Interpolated within its bucket."""
    total = sum(histogram)
    if not total:
        return None
    rank, seen = share * total, 0
    for index, count in enumerate(histogram):
        if count and seen + count >= rank:
            low = BOUNDS[index - 1] if index else 0.0
            high = BOUNDS[index] if index < len(BOUNDS) else BOUNDS[-1]
            return round((low + (high - low) * (rank - seen) / count) * 1000, 3)
        seen += count
    return round(BOUNDS[-1] * 1000, 3)


def as_snapshot(total: Totals) -> dict[str, Any]:
    return {
        "pid": 0,
        "cells": [
            {
                "domain": d,
                "side": s,
                "operation": o,
                "classes": c.classes,
                "histogram": c.histogram,
                "seconds": c.seconds,
            }
            for (d, s, o), c in total.cells.items()
        ],
        "events": [{"domain": d, "event": e, "count": n} for (d, e), n in total.events.items()],
        "refused": total.refused,
        "shadow": {
            "operations": [
                {"domain": d, "operation": o, "mark": mark, **compared.as_snapshot()}
                for (d, o, mark), compared in total.shadow.items()
            ]
        },
    }
