"""What a step can be told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from migration_plan.journey import Stand
from migration_plan.switch.recorder import Hook, nobody_dies
from migration_plan.verification import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`to`: a phase, or a percentage of the reads; `forced`: gates that need not pass; `reason`: for the ledger;
    `progress`: is told of a comparison's rows; `hook`: lets a test end the process between two steps;
    `expected`: where the wave must stand, for who decided by what was measured there."""

    to: str | None = None
    wave: int | None = None
    reason: str | None = None
    forced: Collection[str] = ()
    dry_run: bool = False
    hook: Hook = nobody_dies
    expected: Stand | None = None
    progress: Progress | None = None
