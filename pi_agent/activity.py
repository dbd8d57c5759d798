"""Something that an agent does over the network again and again: one exchange, and when the next is due. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from pi_agent.exchange import Exchange

NEVER = math.inf


def _nobody() -> None:
    """Nobody has to be told."""


@dataclass(slots=True)
class Activity:
    """`step` gives the seconds until the next one; None: the usual interval. `due` in monotonic seconds.

    Whoever drives it sets `wake`, and is called when `due` came nearer. While the step runs `due` is NEVER; if it comes
    nearer then, an activity that `yields` is to be cut off: what it waits for is not wanted any more.
    """

    name: str
    step: Callable[[], Exchange[float | None]]
    interval_s: float = NEVER
    due: float = NEVER
    failures: int = 0
    running: bool = False
    yields: bool = False
    wake: Callable[[], None] = field(default=_nobody)

    def hasten(self, monotonic: float) -> None:
        """Not later than this."""
        if monotonic < self.due:
            self.due = monotonic
            self.wake()
