"""The drill's matrix: which part gets which fault, at which step of which verb. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from migration_plan.switch import STEPS

Fault = Literal["kill", "freeze", "cut", "slow"]
Verb = Literal["switch", "rollback"]

#: What can be done to each part. A stream, the controller and the gateway are cut by cutting what they talk to.
FAULTS: dict[str, tuple[Fault, ...]] = {
    "controller": ("kill", "freeze", "cut"),
    "gateway": ("kill", "freeze"),
    "forward": ("kill", "freeze"),
    "reverse": ("kill", "freeze"),
    "legacy": ("kill", "freeze", "cut", "slow"),
    "service": ("kill", "freeze", "cut", "slow"),
    "pg-legacy": ("kill", "freeze", "cut", "slow"),
    "pg-services": ("kill", "freeze", "cut", "slow"),
    "redis": ("kill", "freeze", "cut"),
}
#: `cross.before`: when step 6 is journaled as begun and its call not yet made.
POINTS: tuple[str, ...] = tuple(f"{step.name}.{when}" for step in STEPS for when in ("before", "after"))
#: Nobody but the clients' own servers may make a call fail; with all others it is a breach.
MAY_FAIL_CALLS = frozenset({"gateway", "legacy", "service", "pg-legacy", "pg-services"})


@dataclass(frozen=True, slots=True)
class Cell:
    component: str
    fault: Fault
    point: str
    verb: Verb

    @property
    def row(self) -> str:
        return f"{self.component} {self.fault}"

    def __str__(self) -> str:
        return f"{self.row} at {self.point} of {self.verb}"


def rows() -> list[tuple[str, Fault]]:
    return [(component, fault) for component, faults in FAULTS.items() for fault in faults]


def full() -> list[Cell]:
    """Every fault at every point, in both directions; a switch and a rollback take turns."""
    return [Cell(component, fault, point, verb) for component, fault in rows() for point in POINTS for verb in _verbs()]


def quick() -> list[Cell]:
    """Every fault once, every point at least once, so spread that a part meets early and late steps."""
    turns = iter(range(10_000))
    cells = []
    for number, (component, fault) in enumerate(rows()):
        verb = _verbs()[next(turns) % 2]
        cells.append(Cell(component, fault, POINTS[number * 5 % len(POINTS)], verb))
    return cells


def chosen(cells: Sequence[Cell], components: Sequence[str], steps: Sequence[str]) -> Iterator[Cell]:
    """Those of these components and steps (`cross`, or `cross.before`); all where none is named."""
    for cell in cells:
        step = cell.point.partition(".")[0]
        if (not components or cell.component in components) and (not steps or {step, cell.point} & set(steps)):
            yield cell


def _verbs() -> tuple[Verb, Verb]:
    return ("switch", "rollback")
