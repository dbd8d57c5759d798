"""Counters of one worker: plain numbers that only grow, handed to the admin process, which adds the workers up."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

# Upper bounds in seconds, five per decade; the last bucket is everything above.
BOUNDS = tuple(round(10 ** (exponent / 5), 7) for exponent in range(-20, 8))


class Cell:
    """What happened to the requests of one operation at one side."""

    __slots__ = ("classes", "histogram", "seconds")

    def __init__(self) -> None:
        self.classes = [0] * 6  # by the first digit of the status; 0: the client left
        self.histogram = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, status: int, seconds: float) -> None:
        self.classes[status // 100] += 1
        self.histogram[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


EVENTS = (
    "overridden", "override_refused",
    "fallback", "held", "held_refused", "hold_expired", "rerouted", "retried", "pinned", "breaker_opened",
    "shed", "bulkhead_full", "client_stalled",
    "shadow_compared", "shadow_mismatched", "shadow_unsettled", "shadow_dropped",
    "shadow_rehearsed", "shadow_unrehearsed",
    "limited", "unauthorized", "links_too_long",
)  # fmt: skip


class Meter:
    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str], Cell] = {}
        self.events: dict[tuple[str, str], int] = {}
        self.refused: dict[int, int] = {}  # malformed requests, by status

    def cell(self, domain: str, side: str, operation: str) -> Cell:
        key = (domain, side, operation)
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = Cell()
        return cell

    def count(self, domain: str, event: str) -> None:
        key = (domain, event)
        self.events[key] = self.events.get(key, 0) + 1

    def refuse(self, status: int) -> None:
        self.refused[status] = self.refused.get(status, 0) + 1

    def snapshot(self) -> dict[str, Any]:
        return {
            "cells": [
                {
                    "domain": d,
                    "side": s,
                    "operation": o,
                    "classes": c.classes,
                    "histogram": c.histogram,
                    "seconds": c.seconds,
                }
                for (d, s, o), c in self.cells.items()
            ],
            "events": [{"domain": d, "event": e, "count": n} for (d, e), n in self.events.items()],
            "refused": {str(status): n for status, n in self.refused.items()},
        }
