"""The numbered steps of a switch (design: "Ownership and the switch"), as they are journaled, printed and tested."""

from __future__ import annotations

from dataclasses import dataclass

from migration_plan.plan import Budgets, Side
from migration_plan.switch.ports import other


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    name: str


PREFLIGHT = Step(1, "preflight")
HOLD = Step(2, "hold")
FENCE = Step(3, "fence")
CATCH_UP = Step(4, "catch_up")
SEQUENCES = Step(5, "sequences")
CROSS = Step(6, "cross")
CONFIRM = Step(7, "confirm")
PUBLISH = Step(7, "publish")
VERIFY = Step(8, "verify")

STEPS = (PREFLIGHT, HOLD, FENCE, CATCH_UP, SEQUENCES, CROSS, CONFIRM, PUBLISH, VERIFY)


def describe(domain: str, wave: int, source: Side, budgets: Budgets) -> list[str]:
    """What a switch away from `source` does, one line a step, for --dry-run."""
    target = other(source)
    return [
        f"1 preflight: streams, lag, parked keys, open transactions, verification, health of {target};"
        f" rows of {target}'s written back to {source}, and rolled back",
        f"2 hold: the gateways keep writes of {domain} wave {wave} waiting"
        f" (at most {budgets.hold_publish_ms} ms to tell them)",
        f"3 fence: lock the tables at {source} (lock timeout {budgets.lock_timeout_ms} ms,"
        f" {budgets.fence_attempts} attempts); owner := moving, epoch + 1, marker into the WAL",
        f"4 catch up: wait until {target} has applied the marker and parked nothing"
        f" (pause budget {budgets.pause_ms} ms, else give up)",
        f"5 sequences: see that {target} hands out ids of its own range",
        f"6 owner := {target} in {target}'s database: the point of no return",
        f"7 owner := {target} in {source}'s database (later, if it does not answer at once); publish the routes;"
        " release the held writes",
        f"8 verify: compare both sides; the stream back to {source} keeps running",
    ]
