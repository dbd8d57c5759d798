"""The drill's outcomes as a table: a row for each part and fault, a column for each step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from load.drill.switch import Outcome
from migration_plan.switch import STEPS

NAMES = [step.name for step in STEPS]


def table(outcomes: Sequence[Outcome]) -> str:
    """How many cells were well; `X` where one was not; nothing where none was tried."""
    rows = list(dict.fromkeys(outcome.row for outcome in outcomes))
    width = max((len(row) for row in rows), default=4)
    lines = [" " * width + "  " + "  ".join(f"{name:>9}" for name in NAMES)]
    for row in rows:
        cells = []
        for name in NAMES:
            of = [o for o in outcomes if o.row == row and o.point.partition(".")[0] == name]
            bad = sum(not o.well for o in of)
            cells.append(f"{f'{len(of) - bad}/{len(of)} X' if bad else f'{len(of)} well' if of else '':>9}")
        lines.append(f"{row:<{width}}  " + "  ".join(cells))
    return "\n".join(lines)


def account(outcomes: Sequence[Outcome], seconds: float, machine: dict[str, Any]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "drill": "switch",
        "cells": len(outcomes),
        "not_well": [outcome.cell for outcome in outcomes if not outcome.well],
        "problems": {outcome.cell: outcome.problems for outcome in outcomes if not outcome.well},
        "requests": sum(outcome.requests for outcome in outcomes),
        "accepted": sum(outcome.accepted for outcome in outcomes),
        "failed": sum(outcome.failed for outcome in outcomes),
        "stale": sum(outcome.stale for outcome in outcomes),
        "seconds": round(seconds, 1),
        "machine": machine,
        "well": bool(outcomes) and all(outcome.well for outcome in outcomes),
    }
