"""A version of the planner: which method with which settings. Versions are never changed, only replaced. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from services.devices.optimizer.errors import BadInput

Kind = Literal["dynamic", "timer"]
#: Levels of charge that a version may ask for: more cost time and gain next to nothing.
LEAST_LEVELS, MOST_LEVELS = 11, 201


@dataclass(frozen=True, slots=True)
class Model:
    """`kind` dynamic plans by dynamic programming, timer by the rule; exactly one version is `active`."""

    version: int
    kind: Kind
    settings: dict[str, Any]
    note: str
    active: bool
    created_at: datetime


def levels_of(kind: Kind, settings: dict[str, Any]) -> int:
    """The levels of charge of a version. Raises: BadInput for settings that its kind does not know."""
    known = {"dynamic": {"levels"}, "timer": set[str]()}[kind]
    if unknown := sorted(set(settings) - known):
        raise BadInput(f"a {kind} model has no setting {', '.join(unknown)}")
    levels = settings.get("levels", 51)
    if not isinstance(levels, int) or isinstance(levels, bool) or not LEAST_LEVELS <= levels <= MOST_LEVELS:
        raise BadInput(f"levels is a number from {LEAST_LEVELS} to {MOST_LEVELS}")
    return levels
