"""What clients got within a window: differences of the gateway's counters, which only grow while a node lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Scrapes of a node that are kept, and nodes (one admin address may lead to several). More says a fault elsewhere.
KEPT, NODES = 64, 16


@dataclass(frozen=True, slots=True)
class Cell:
    """Requests of one operation at one side."""

    count: int
    errors: int  # 5xx, or no answer that could be read
    histogram: tuple[int, ...]

    def since(self, before: Cell) -> Cell | None:
        """None when a counter fell, or has other buckets: the node began anew."""
        if self.count < before.count or len(self.histogram) != len(before.histogram):
            return None
        grown = tuple(b - a for a, b in zip(before.histogram, self.histogram, strict=True))
        return Cell(self.count - before.count, self.errors - before.errors, grown) if min(grown) >= 0 else None

    def plus(self, other: Cell) -> Cell:
        summed = tuple(a + b for a, b in zip(self.histogram, other.histogram, strict=True))
        return Cell(self.count + other.count, self.errors + other.errors, summed)


@dataclass(frozen=True, slots=True)
class Traffic:
    """A domain's requests: by (operation, side), and reads that the service failed and legacy answered."""

    bounds: tuple[float, ...] = ()
    cells: Mapping[tuple[str, str], Cell] = field(default_factory=dict)
    fallbacks: int = 0

    def side(self, side: str) -> tuple[int, int]:
        """(requests, errors) of all operations."""
        mine = [cell for (_, at), cell in self.cells.items() if at == side]
        return sum(cell.count for cell in mine), sum(cell.errors for cell in mine)

    def pairs(self, operations: Sequence[str]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(service's histogram, legacy's) of those operations that both sides answered."""
        found = [(self.cells.get((name, "service")), self.cells.get((name, "legacy"))) for name in operations]
        return [(a.histogram, b.histogram) for a, b in found if a and b and a.count and b.count]


def read(said: Mapping[str, Any], domain: str) -> Traffic:
    """One domain of `GET /v1/figures`."""
    bounds = tuple(float(bound) for bound in said["bounds"])
    cells = {
        (c["operation"], c["side"]): Cell(sum(c["classes"]), c["classes"][5], tuple(c["histogram"]))
        for c in said["cells"]
        if c["domain"] == domain
    }
    fallbacks = sum(e["count"] for e in said["events"] if (e["domain"], e["event"]) == (domain, "fallback"))
    return Traffic(bounds, cells, fallbacks)


class Recent:
    """The scrapes of the last seconds, of each gateway node apart; `window` is what grew between them."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._nodes: dict[str, deque[tuple[float, Traffic]]] = {}

    def take(self, now: float, node: str, traffic: Traffic) -> None:
        kept = self._nodes.setdefault(node, deque(maxlen=KEPT))
        if kept and _since(kept[-1][1], traffic) is None:
            kept.clear()
        kept.append((now, traffic))
        # The newest that is as old as the window stays: the window is never shorter than asked for.
        while len(kept) > 2 and kept[1][0] <= now - self._window_s:
            kept.popleft()
        for other in [name for name, seen in self._nodes.items() if seen[-1][0] < now - 3 * self._window_s]:
            del self._nodes[other]
        while len(self._nodes) > NODES:
            del self._nodes[next(iter(self._nodes))]

    def window(self, now: float) -> Traffic | None:
        """None until a node was scraped twice."""
        return self._grown(now, 0)

    def latest(self, now: float) -> Traffic | None:
        """What grew since the scrape before the newest."""
        return self._grown(now, -2)

    def _grown(self, now: float, since: int) -> Traffic | None:
        total: Traffic | None = None
        for kept in self._nodes.values():
            if len(kept) > 1 and kept[-1][0] >= now - self._window_s:
                grown = _since(kept[since][1], kept[-1][1])
                total = grown if total is None or grown is None else _plus(total, grown)
        return total

    def forget(self) -> None:
        """The stage changed: what was before says nothing of it."""
        self._nodes.clear()


def _since(before: Traffic, now: Traffic) -> Traffic | None:
    none = Cell(0, 0, (0,) * (len(now.bounds) + 1))
    cells = {key: cell.since(before.cells.get(key, none)) for key, cell in now.cells.items()}
    grown = {key: cell for key, cell in cells.items() if cell is not None}
    if len(grown) < len(cells) or before.cells.keys() - now.cells.keys() or now.fallbacks < before.fallbacks:
        return None
    return Traffic(now.bounds, grown, now.fallbacks - before.fallbacks)


def _plus(a: Traffic, b: Traffic) -> Traffic:
    cells = dict(a.cells)
    for key, cell in b.cells.items():
        cells[key] = cells[key].plus(cell) if key in cells else cell
    return Traffic(a.bounds, cells, a.fallbacks + b.fallbacks)
