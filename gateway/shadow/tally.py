"""What one operation's comparisons came to, field by field. Bounded: a body may have any number of names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.control.comparison import Thresholds
from gateway.control.verdict import judge
from gateway.shadow.compare import Difference, Kind

MOST_FIELDS = 100  # of an operation; what comes after is counted together
OTHER = "(other)"
EARLY = 20  # comparisons of an operation that are all asked twice, so that noise is known from the start
KNOWN_AFTER = 5
# Percent. Below, it may be the data that changes, and waiting for it to stand still tells more than counting.
KNOWN_ABOVE = 50


class Tally:
    """Counters that only grow. `twice`: how often legacy was compared with itself."""

    __slots__ = ("compared", "fields", "kinds", "mismatched", "twice", "unsettled")

    def __init__(self) -> None:
        self.compared = 0
        self.mismatched = 0
        self.twice = 0
        self.unsettled = 0
        self.fields: dict[str, list[int]] = {}  # → [raw, noise]
        self.kinds: dict[str, Kind] = {}  # of the newest difference

    def add(self, differences: Iterable[Difference]) -> None:
        """One comparison of the sides."""
        self.compared += 1
        self._count(differences, 0)

    def add_noise(self, differences: Iterable[Difference]) -> None:
        """One comparison of legacy with itself."""
        self.twice += 1
        self._count(differences, 1)

    def _count(self, differences: Iterable[Difference], at: int) -> None:
        kinds = {self._name(found.field): found.kind for found in differences}
        for field, kind in kinds.items():
            self.fields.setdefault(field, [0, 0])[at] += 1
            if not at or field not in self.kinds:
                self.kinds[field] = kind

    def _name(self, field: str) -> str:
        return field if field in self.fields or len(self.fields) < MOST_FIELDS else OTHER

    def is_noise(self, field: str, thresholds: Thresholds) -> bool:
        """Legacy is known to differ with itself here most of the time, and the sides not much more often."""
        found = self.fields.get(self._name(field))
        if found is None or self.twice < KNOWN_AFTER or 100 * found[1] < KNOWN_ABOVE * self.twice:
            return False
        return judge(found[0], self.compared, found[1], self.twice, thresholds) == "noise"

    def snapshot(self) -> dict[str, Any]:
        return {
            "compared": self.compared,
            "mismatched": self.mismatched,
            "twice": self.twice,
            "unsettled": self.unsettled,
            "fields": [[name, self.kinds[name], raw, noise] for name, (raw, noise) in self.fields.items()],
        }
