"""What clients of devices and notifications remember: for each thing that they wrote, its values that may be stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from load.memory import History


class Fact(NamedTuple):
    """One stored thing: its `kind`, the device or customer it belongs to, and its name there (`""`: the only one)."""

    kind: str
    owner: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A copy of the memory of one domain's fleet. `owners` are its own devices or customers: nobody else writes there.

    `len()` counts accepted write requests, by kind in `writes`, overwritten ones included.
    """

    domain: str
    owners: frozenset[int] = frozenset()
    writes: dict[str, int] = field(default_factory=dict)
    values: dict[Fact, History[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(self.writes.values())


class FactMemory:
    """Filled on one event loop; `copy` may be called from any thread."""

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._owners: set[int] = set()
        self.writes: Counter[str] = Counter()  # accepted requests by kind
        self._values: dict[Fact, History[str]] = {}

    def own(self, owner: int) -> None:
        self._owners.add(owner)

    def note(self, fact: Fact, value: str, *, certain: bool) -> None:
        history = self._values.get(fact, History())
        self._values[fact] = history.then(value) if certain else history.perhaps(value)
        self.writes[fact.kind] += certain

    def of(self, fact: Fact) -> History[str]:
        return self._values.get(fact, History())

    def copy(self) -> Facts:
        return Facts(self._domain, frozenset(self._owners), dict(self.writes), dict(self._values))
