"""Which transactions a database snapshot sees. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# pgoutput names transactions by their low 32 bits, which go round.
_CIRCLE = 1 << 32
_HALF = 1 << 31


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`xmax` and `under_way` in 32 bits, as pgoutput writes them; subtransactions are their parents'."""

    xmax: int
    under_way: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """`pg_current_snapshot()`: xmin:xmax:xid,xid,…"""
        _, xmax, under_way = text.split(":")
        return cls(int(xmax) % _CIRCLE, frozenset(int(xid) % _CIRCLE for xid in under_way.split(",") if xid))

    def sees(self, xid: int) -> bool:
        """Whether it shows what this committed transaction did."""
        return (xid - self.xmax) % _CIRCLE >= _HALF and xid not in self.under_way
