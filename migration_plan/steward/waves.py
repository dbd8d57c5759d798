"""What the steward knows of one wave: where it stands, what was measured there, what was done about it. No I/O."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from migration_plan.gates.judge import Finding
from migration_plan.journey import PHASES, Stand
from migration_plan.ledger import Row
from migration_plan.plan import Stages
from migration_plan.steward.act import Acted
from migration_plan.steward.decide import KEPT, Decision, Look, Past, decide, still_told, told_now

#: Seconds until a try that came to nothing is repeated: doubled each time, up to the last.
FIRST_RETRY_S, LAST_RETRY_S = 2.0, 30.0


@dataclass(frozen=True, slots=True)
class Shown:
    """For who asks the steward: the newest look, and what it came to."""

    stand: str
    findings: tuple[Finding, ...] = ()
    decision: Decision | None = None
    said: str = ""


class Wave:
    """Arriving at another stand, or being taken there, begins its measurements anew."""

    def __init__(self, stages: Stages, stand: Stand, acted_at: float | None) -> None:
        self.stand = stand
        self.forced: frozenset[str] = frozenset()
        self.shown = Shown(str(stand))
        self._stages = stages
        self._history: deque[Look] = deque(maxlen=KEPT)
        self._past = Past(acted_at)
        self._tries = 0

    def arrive(self, stand: Stand, forced: frozenset[str]) -> None:
        """Who took it forward since the last act has unfrozen it, and wants it watched: the cool-down is over."""
        acted_at = None if is_ahead(stand, self.stand) else self._past.acted_at
        self.stand, self.forced = stand, forced
        self.shown = Shown(str(stand))
        self._history.clear()
        self._past, self._tries = Past(acted_at), 0

    def judge(self, look: Look, findings: Sequence[Finding], *, frozen: bool) -> Decision:
        """Take one more look into account. `nothing` in a phase that nobody watches."""
        stage = self._stages.of(self.stand.phase)
        if stage is None:
            return Decision("nothing", {})
        self._history.append(look)
        self._past = replace(
            self._past, told=still_told(self._history, self._past.told, look.at, self._stages.cooldown_s)
        )
        decision = decide(stage, self._history, look.at, self._past, cooldown_s=self._stages.cooldown_s, frozen=frozen)
        self.shown = Shown(str(self.stand), tuple(findings), decision, self.shown.said)
        return decision

    def acted(self, decision: Decision, acted: Acted, now: float) -> None:
        """An alert is told once; an act begins the cool-down; a try that came to nothing is repeated, ever later."""
        self.shown = replace(self.shown, said=acted.text)
        told = told_now(self._past.told, decision, now)
        if not acted.done:
            wait = min(FIRST_RETRY_S * 2**self._tries, LAST_RETRY_S)
            self._tries += 1
            self._past = replace(self._past, retry_at=now + wait)
        elif decision.action == "alert":
            self._past = replace(self._past, told=told)
        else:
            self._past, self._tries = Past(now, told), 0


def is_ahead(one: Stand, other: Stand) -> bool:
    return (PHASES.index(one.phase), one.percent) > (PHASES.index(other.phase), other.percent)


def last_act(rows: Sequence[Row], actor: str, wave: int) -> Row | None:
    """The newest act of a steward, for one that has just started; None when somebody took the wave forward since."""
    for row in reversed(rows):
        entry = row.entry
        if entry.actor == actor and entry.verb in ("freeze", "rollback"):
            return row
        if entry.wave == wave and entry.before and entry.after:
            with contextlib.suppress(ValueError):
                if is_ahead(Stand.parse(entry.after), Stand.parse(entry.before)):
                    return None
    return None


def forced_gates(rows: Sequence[Row], wave: int, stand: Stand) -> frozenset[str]:
    """Gates that did not pass when somebody took the wave to `stand`, and meant it (`--force-gate`)."""
    for row in reversed(rows):
        gates = row.entry.measured.get("gates")
        if row.entry.wave == wave and row.entry.after == str(stand) and isinstance(gates, dict):
            return frozenset(str(name) for name, verdict in gates.items() if not str(verdict).startswith("pass"))
    return frozenset()
