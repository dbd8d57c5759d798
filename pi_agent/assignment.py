"""Which backend commands this battery, and the trial that another one has to pass first: a pure state machine.

                 flag v2                         each check passed, often enough
    on legacy ───────────► trial of v2 ────────────────────────────────────────► on v2 (committed)
        ▲                      │ a check failed, deadline, restart                  │ errors in a row
        └──────────────────────┴───────────────────◄────────────────────────────────┘
                    flag legacy: from anywhere, at once

While a trial runs the backend in charge stays in charge: only its commands are obeyed, and the schedule goes on. A
trial is never resumed: what a restart cut off has failed. The caller keeps the state, and keeps it on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from pi_agent.backoff import Backoff, Uniform
from pi_agent.flags import LEGACY, V2


class Check(IntEnum):
    """What a candidate has to show in each round, in this order."""

    HANDSHAKE = 0
    AUTH = 1
    SCHEDULE = 2
    ACK = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """`deadline` in monotonic seconds; `passed` checks of the round that runs, after `rounds` whole ones."""

    candidate: str
    deadline: float
    passed: int = 0
    rounds: int = 0

    @property
    def check(self) -> Check:
        """The one that comes next."""
        return Check(self.passed)


@dataclass(frozen=True, slots=True)
class Assignment:
    """`primary`: whose commands are obeyed. `epoch`: the highest ever seen; what carries a lower one is stale.

    `retry_at`: not before then (monotonic) is a trial begun; `falls`: so often in a row v2 was given up; `reason`: why.
    """

    primary: str = LEGACY
    wanted: str = LEGACY
    epoch: int = 0
    trial: Trial | None = None
    errors: int = 0
    falls: int = 0
    retry_at: float | None = None
    reason: str | None = None

    @property
    def phase(self) -> str:
        """For people: `legacy`, `trial`, `v2`, `reverted`."""
        if self.trial is not None:
            return "trial"
        return "reverted" if self.primary == LEGACY and self.wanted == V2 and self.falls else self.primary

    def obeys(self, issuer: str, epoch: int | None) -> bool:
        """The fence: whether a document or a command of this backend may be acted upon."""
        return issuer == self.primary and (epoch is None or epoch >= self.epoch)


@dataclass(frozen=True, slots=True)
class Rules:
    trial_s: float
    successes: int
    max_errors: int
    retreat: Backoff

    def wish(self, now: Assignment, flag: str) -> Assignment:
        """The flag's value. Back to legacy at once, without a trial: this is the one command back.

        A changed flag wipes the record: whoever changed it wants it tried now.
        """
        if flag == now.wanted:
            return now
        return Assignment(primary=now.primary if flag == V2 else LEGACY, wanted=flag, epoch=now.epoch)

    def due(self, now: Assignment, monotonic: float) -> bool:
        """Whether a trial should begin."""
        waits = now.retry_at is not None and monotonic < now.retry_at
        return now.trial is None and now.wanted == V2 and now.primary != V2 and not waits

    def begin(self, now: Assignment, monotonic: float) -> Assignment:
        if not self.due(now, monotonic):
            return now
        return replace(now, trial=Trial(now.wanted, monotonic + self.trial_s), retry_at=None)

    def passed(self, now: Assignment, check: Check, monotonic: float, uniform: Uniform) -> Assignment:
        """A check was passed; the last one of the last round commits. Out of order, or too late, it fails the trial."""
        trial = now.trial
        if trial is None:
            return now
        if monotonic >= trial.deadline:
            return self.failed(now, "not done within its time", monotonic, uniform)
        if check is not trial.check:
            return self.failed(now, f"{check.name.lower()} out of order", monotonic, uniform)
        if check is not Check.ACK:
            return replace(now, trial=replace(trial, passed=trial.passed + 1))
        if trial.rounds + 1 < self.successes:
            return replace(now, trial=replace(trial, passed=0, rounds=trial.rounds + 1))
        return replace(now, primary=trial.candidate, trial=None, errors=0, reason=None)

    def failed(self, now: Assignment, reason: str, monotonic: float, uniform: Uniform) -> Assignment:
        """The trial failed: the primary stays what it was all the time."""
        return now if now.trial is None else self._fallen(now, reason, monotonic, uniform)

    def overdue(self, now: Assignment, monotonic: float, uniform: Uniform) -> Assignment:
        """To be asked each control period: no answer at all must not keep a trial open."""
        late = now.trial is not None and monotonic >= now.trial.deadline
        return self._fallen(now, "not done within its time", monotonic, uniform) if late else now

    def primary_failed(
        self, now: Assignment, backend: str, reason: str, monotonic: float, uniform: Uniform
    ) -> Assignment:
        """An error of the backend in charge: v2 is given up after `max_errors` in a row, legacy never."""
        if backend != V2 or now.primary != V2:
            return now
        if now.errors + 1 < self.max_errors:
            return replace(now, errors=now.errors + 1)
        return self._fallen(now, reason, monotonic, uniform)

    def primary_succeeded(self, now: Assignment, backend: str) -> Assignment:
        """Success on v2 after its trial: its record is clean again."""
        if backend != V2 or now.primary != V2 or (now.errors, now.falls) == (0, 0):
            return now
        return replace(now, errors=0, falls=0)

    def seen(self, now: Assignment, epoch: int | None) -> Assignment:
        """Any backend's word that there was a newer change of owner."""
        return now if epoch is None or epoch <= now.epoch else replace(now, epoch=epoch)

    def _fallen(self, now: Assignment, reason: str, monotonic: float, uniform: Uniform) -> Assignment:
        pause = self.retreat.base_s + self.retreat.delay(now.falls, uniform)
        return replace(
            now,
            primary=LEGACY,
            trial=None,
            errors=0,
            falls=now.falls + 1,
            retry_at=monotonic + pause,
            reason=reason[:200],
        )


def to_disk(assignment: Assignment) -> dict[str, Any]:
    """Without the times: the monotonic clock begins anew with each start of the machine."""
    return {
        "primary": assignment.primary,
        "wanted": assignment.wanted,
        "epoch": assignment.epoch,
        "trial": assignment.trial is not None,
        "falls": assignment.falls,
        "reason": assignment.reason,
    }


def from_disk(saved: object, rules: Rules, monotonic: float, uniform: Uniform) -> Assignment:
    """What was last known; legacy when there is nothing, or nonsense. A trial that a restart cut off has failed."""
    if (
        not isinstance(saved, dict)
        or saved.get("primary") not in (LEGACY, V2)
        or saved.get("wanted") not in (LEGACY, V2)
    ):
        return Assignment()
    epoch, falls, reason = saved.get("epoch"), saved.get("falls"), saved.get("reason")
    known = Assignment(
        primary=saved["primary"] if saved["wanted"] == V2 else LEGACY,
        wanted=saved["wanted"],
        epoch=epoch if isinstance(epoch, int) and epoch >= 0 else 0,
        falls=falls if isinstance(falls, int) and falls >= 0 else 0,
        reason=reason if isinstance(reason, str) else None,
    )
    if saved.get("trial") is True:
        begun = replace(known, trial=Trial(V2, monotonic))
        return rules.failed(begun, "the agent was restarted during the trial", monotonic, uniform)
    return known
