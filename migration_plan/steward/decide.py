"""What the steward does about a wave, as a pure function of what was measured, the stage's rules and the clock.

It acts on failures only: an inconclusive gate, or one that could not be measured, is told and moves nothing. With a
look every POLL_S a gate that fails in every look is acted on after `failure_limit` + 1 of them: within 10 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from migration_plan.gates.analysis import WITHIN_S, Measurement, Phase, assess
from migration_plan.plan import Stage

#: Seconds between two looks.
POLL_S = 2.0

#: Looks that are kept: enough for every limit that a plan may set.
KEPT = 64

Action = Literal["nothing", "alert", "freeze", "rollback"]


@dataclass(frozen=True, slots=True)
class Look:
    """Each gate of the stage, at one time (seconds of a clock that never goes back)."""

    at: float
    measured: Mapping[str, Measurement]


#: A gate, and whether it failed (else nothing could be said of it).
Told = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Past:
    """What the steward did to the wave before. `told`: what somebody was told about, and when; `retry_at`: not before
    then, since the last try came to nothing."""

    acted_at: float | None = None
    told: Mapping[Told, float] = field(default_factory=dict)
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`gates`: why, each with what its measurements came to."""

    action: Action
    gates: Mapping[str, Phase]

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(name for name, phase in self.gates.items() if phase == "failed")


def decide(
    stage: Stage, history: Sequence[Look], now: float, past: Past, *, cooldown_s: float, frozen: bool
) -> Decision:
    """`history` is of this stage only, oldest first. What is told already is not told again."""
    phases = {name: assess(row, stage) for name, row in _rows(history).items()}
    failed = {name: phase for name, phase in phases.items() if phase == "failed"}
    fresh = bool(history) and now - history[-1].at <= WITHIN_S
    cooling = past.acted_at is not None and now - past.acted_at < cooldown_s
    waiting = past.retry_at is not None and now < past.retry_at
    if failed and fresh and stage.on_fail != "alert" and not (stage.on_fail == "freeze" and frozen):
        return Decision("nothing" if cooling or waiting else stage.on_fail, failed)
    untold = {
        name: phase
        for name, phase in phases.items()
        if phase in ("failed", "inconclusive", "error") and (name, phase == "failed") not in past.told
    }
    return Decision("alert" if untold and fresh else "nothing", untold)


def still_told(history: Sequence[Look], told: Mapping[Told, float], now: float, cooldown_s: float) -> dict[Told, float]:
    """What is not told again: that there is no data, in this stage ever (a quiet night has many such minutes); a gate
    that failed until it has passed, and not before the cool-down is over."""
    newest = history[-1].measured if history else {}
    return {
        (name, failed): at
        for (name, failed), at in told.items()
        if not failed or newest.get(name) != "pass" or now - at < cooldown_s
    }


def told_now(told: Mapping[Told, float], decision: Decision, now: float) -> dict[Told, float]:
    return {**told, **{(name, phase == "failed"): now for name, phase in decision.gates.items()}}


def _rows(history: Sequence[Look]) -> dict[str, list[tuple[float, Measurement]]]:
    rows: dict[str, list[tuple[float, Measurement]]] = {}
    for look in history:
        for name, what in look.measured.items():
            rows.setdefault(name, []).append((look.at, what))
    return rows
