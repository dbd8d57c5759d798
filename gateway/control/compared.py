"""What all workers together found of one operation's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COUNTS = ("compared", "mismatched", "twice", "unsettled")


@dataclass(slots=True)
class Compared:
    """`twice`: how often legacy was compared with itself. `fields`: → [kind, raw, noise]."""

    compared: int = 0
    mismatched: int = 0
    twice: int = 0
    unsettled: int = 0
    fields: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, told: Mapping[str, Any]) -> None:
        """One worker's counts, as `gateway.shadow.tally` tells them."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + told[name])
        for path, kind, raw, noise in told["fields"]:
            known = self.fields.setdefault(path, [kind, 0, 0])
            known[1] += raw
            known[2] += noise

    def as_snapshot(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in COUNTS}
        return {**counts, "fields": [[path, *found] for path, found in self.fields.items()]}
