"""The switch: the eight steps in order, what each failure leads to, and how long the writes waited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from migration_plan.errors import Aborted, Busy, PlanError, Refused, Unfinished, Unreachable
from migration_plan.journey import Stand
from migration_plan.plan import Budgets, Side
from migration_plan.switch import steps
from migration_plan.switch.ports import (
    CatchUpTimeout,
    ChangesParked,
    EpochMoved,
    Fenced,
    FenceTimeout,
    Note,
    Owned,
    Ports,
    SequencesClash,
    other,
)
from migration_plan.switch.recorder import Clock, Hook, Recorder, nobody_dies
from migration_plan.switch.resolve import Settled, resolve

# The new owner accepts writes already, or a gateway holds some: try for 5 s before leaving it to the next run.
FORWARD_S = 5.0
RETRY_S = 0.25
BACKOFF_S = 0.05
# The writes wait while the old owner is told that it is none any more, and it refuses them anyway: one that does not
# answer within this is told once the routes are published.
CONFIRM_ANSWER_S = 0.25
# This part of the pause budget may pass before step 6; the rest is for steps 6 and 7.
CROSS_BEFORE = 0.9

# What breaks a switch off. A killed process breaks off too, and leaves the same work to the next run.
_BREAKS_OFF = (CatchUpTimeout, ChangesParked, SequencesClash, EpochMoved, PlanError, KeyboardInterrupt)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a switch came to. `pause_ms`: from the hold to the release, in the attempt that succeeded."""

    owner: Side
    epoch: int
    pause_ms: float
    attempts: int
    step_ms: dict[str, float]
    preflight: dict[str, Any]
    published: dict[str, Any]
    verify: dict[str, Any]


class Switch:
    """Moves one wave's writes away from `source`. Use once, under the domain's lease, on settled ownership."""

    def __init__(
        self,
        ports: Ports,
        source: Side,
        before: Stand,
        after: Stand,
        budgets: Budgets,
        clock: Clock,
        hook: Hook = nobody_dies,
    ) -> None:
        self.ports, self.source, self.target = ports, source, other(source)
        self.before, self.after, self.budgets = before, after, budgets
        self._clock = clock
        self._record = Recorder(ports.journal, clock, hook)
        self._held_at = 0.0
        self._target_epoch = 0
        self._holding = False  # a gateway keeps writes waiting, or may do so
        self._crossing: int | None = None  # step 6 was sent, with this epoch

    def run(self) -> Outcome:
        """Raises: Refused, Aborted (nothing was changed), Busy (another did it), Unfinished (run it again)."""
        preflight = self._preflight()
        fenced, attempts = self._stop_writes()
        epoch = self._hand_over(fenced)
        confirmed = self._confirm(fenced, epoch)
        published = self._publish(epoch)
        pause_ms = self._paused_ms()
        # Before the comparison, which takes its time: whoever looks meanwhile shall see where the wave stands.
        arrived = Note(
            steps.PUBLISH.name, "arrived", epoch, {"pause_ms": pause_ms, "steps": dict(self._record.step_ms)}
        )
        self._record.write(arrived, stand=self.after, owned=Owned(self.target, epoch), forward=True)
        if not confirmed:
            self._confirm_late(fenced, epoch)
        self._record.begin(steps.VERIFY, forward=True)
        verify = self._record.step(steps.VERIFY, self.ports.checks.verify)
        self._record.write(Note("end", "done", epoch, {"pause_ms": pause_ms, "attempts": attempts}), forward=True)
        if self._record.missing is not None:
            raise Unfinished(f"{self._arrived()}, but the ledger lacks rows ({self._record.missing}): {_AGAIN}")
        return Outcome(self.target, epoch, pause_ms, attempts, self._record.step_ms, preflight, published, verify)

    def _preflight(self) -> dict[str, Any]:
        try:
            self._record.begin(steps.PREFLIGHT)
            return self._record.step(steps.PREFLIGHT, self.ports.checks.preflight)
        except Refused as error:
            self._record.write(Note(steps.PREFLIGHT.name, "failed", why=str(error)))
            raise

    def _stop_writes(self) -> tuple[Fenced, int]:
        """Steps 2 and 3, again with growing pauses while the locks are not to be had."""
        expected = self.ports.table(self.source).read().epoch
        # Read before the fence: who ends our switch for us while we sleep raises it, and our step 6 is refused.
        self._target_epoch = self.ports.table(self.target).read().epoch
        held_by: str | None = None
        for attempt in range(1, self.budgets.fence_attempts + 1):
            try:
                self._record.begin(steps.HOLD, detail={"attempt": attempt})
                self._record.step(steps.HOLD, self._hold)
                self._record.begin_later(steps.FENCE)
                return self._record.step(steps.FENCE, lambda: self.ports.table(self.source).fence(expected)), attempt
            except FenceTimeout as error:
                held_by = error.held_by
                self._release(Owned(self.source, expected), self.before)
                figures = {"attempt": attempt, "pause_ms": self._paused_ms()}
                self._record.later(Note(steps.FENCE.name, "failed", expected, figures, str(error) or "lock timeout"))
                if attempt < self.budgets.fence_attempts:
                    self._clock.sleep(BACKOFF_S * 2 ** (attempt - 1))
            except _BREAKS_OFF as error:
                self._break_off(self._settle(error), error)
        why = (
            f"the fence did not get its locks in {self.budgets.fence_attempts} attempts of"
            f" {self.budgets.lock_timeout_ms} ms: "
            + (
                f"at {self.source}, {held_by}; try again when it is done"
                if held_by
                else f"a long transaction holds the tables at {self.source}; end it and try again"
            )
        )
        self._record.write(Note("abort", "done", expected, why=why))
        raise Aborted(f"given up: {why} (nothing was changed)")

    def _hold(self) -> dict[str, Any]:
        self._held_at = self._clock.now()
        self._holding = True
        self._holding = self.ports.routes.hold()
        return {"gateways": self._holding}

    def _hand_over(self, fenced: Fenced) -> int:
        """Steps 4 to 6. Returns the epoch under which the target accepts writes."""
        try:
            self._record.begin(steps.CATCH_UP, steps.SEQUENCES, steps.CROSS)  # meanwhile the stream carries the marker
            self._record.step(steps.CATCH_UP, lambda: self._catch_up(fenced))
            self._record.step(steps.SEQUENCES, self.ports.stream.check_sequences)
            return self._record.step(steps.CROSS, lambda: self._cross(fenced))
        except _BREAKS_OFF as error:
            settled = self._settle(error)
            if settled.side == self.target and settled.epoch == self._crossing:
                return settled.epoch  # step 6 did happen, though its answer did not come
            self._break_off(settled, error)

    def _catch_up(self, fenced: Fenced) -> dict[str, Any]:
        """The marker is recorded as applied also when a change before it was parked: ask for both, in this order."""
        self.ports.stream.wait_fence(fenced, self._budget_left_s())
        return self.ports.stream.check_parked()

    def _cross(self, fenced: Fenced) -> int:
        """The point of no return is the commit of this one call."""
        if self._budget_left_s() <= 0:
            raise CatchUpTimeout(f"the pause budget of {self.budgets.pause_ms} ms is used up")
        epoch = max(fenced.epoch, self._target_epoch + 1)
        self._crossing = epoch
        self.ports.table(self.target).set_owner(self.target, self._target_epoch, epoch)
        return epoch

    def _confirm(self, fenced: Fenced, epoch: int) -> bool:
        """Step 7, first half, tried once: clients wait. False: the old owner is away, and refuses writes anyway."""
        table = self.ports.table(self.source)
        self._record.begin_later(steps.CONFIRM)
        try:
            self._record.step(
                steps.CONFIRM, lambda: table.set_owner(self.target, fenced.epoch, epoch, answer_s=CONFIRM_ANSWER_S)
            )
        except (Unreachable, EpochMoved) as error:
            self._record.later(Note(steps.CONFIRM.name, "failed", epoch, why=_reason(error)))
            return False
        return True

    def _publish(self, epoch: int) -> dict[str, Any]:
        """Step 7, second half: the routes, which end the hold."""
        owned = Owned(self.target, epoch)
        try:
            self._record.begin_later(steps.PUBLISH)
            return self._record.step(steps.PUBLISH, lambda: self._release(owned, self.after))
        except Unreachable as error:
            why = f"{self._arrived()}, but the gateway was not told ({error}): {_AGAIN}"
            self._stay_unfinished(steps.PUBLISH, why, epoch, error)

    def _confirm_late(self, fenced: Fenced, epoch: int) -> None:
        """Nobody waits for it any more: in the time that it takes."""
        self._record.begin(steps.CONFIRM, forward=True)
        try:
            self._record.step(steps.CONFIRM, lambda: self._confirm_again(fenced, epoch))
        except (Unreachable, EpochMoved) as error:
            why = f"{self._arrived()}, but {self.source}'s database was not told ({error}): {_AGAIN}"
            self._stay_unfinished(steps.CONFIRM, why, epoch, error)

    def _stay_unfinished(self, step: steps.Step, why: str, epoch: int, cause: Exception) -> NoReturn:
        self._record.write(Note(step.name, "failed", epoch, why=why), forward=True)
        raise Unfinished(why) from cause

    def _confirm_again(self, fenced: Fenced, epoch: int) -> None:
        table = self.ports.table(self.source)
        give_up = self._clock.now() + FORWARD_S
        while True:
            try:
                return table.set_owner(self.target, fenced.epoch, epoch)
            except EpochMoved:
                # An earlier try came through although its answer did not, or somebody finished for us.
                if table.read().owner == self.target:
                    return None
                raise
            except Unreachable:
                if self._clock.now() >= give_up:  # time, not attempts: each may take seconds to fail
                    raise
                self._clock.sleep(RETRY_S)

    def _release(self, owned: Owned, stand: Stand) -> dict[str, Any]:
        """Publish, which ends the hold; where nobody holds, a gateway that is away learns it from 421 later."""
        give_up = self._clock.now() + FORWARD_S
        while True:
            try:
                published = self.ports.routes.publish(owned, stand)
            except Unreachable as error:
                if not self._holding:
                    return {"gateway": "not told", "why": str(error)}
                if self._clock.now() >= give_up:
                    raise
                self._clock.sleep(RETRY_S)
            else:
                self._holding = False
                return published

    def _settle(self, error: BaseException) -> Settled:
        """Where the databases put the wave after `error`, once an unfinished fence is ended."""
        why = _reason(error)
        try:
            return resolve(self.ports.legacy, self.ports.service, uncrossed=self._crossing is None)
        except Unreachable as away:
            self._record.write(Note("abort", "failed", why=f"{why}; then {away}"), forward=True)
            raise Unfinished(f"the switch broke off ({why}), and a database is away ({away}): {_AGAIN}") from error

    def _break_off(self, settled: Settled, error: BaseException) -> NoReturn:
        """Release the hold and publish who accepts the writes: we again, or the target if somebody else moved them."""
        why, overtaken = _reason(error), settled.side == self.target
        owned, stand = Owned(settled.side, settled.epoch), self.after if overtaken else self.before
        try:
            self._release(owned, stand)
        except Unreachable as away:
            self._record.write(Note("abort", "failed", settled.epoch, why=f"{why}; then {away}"), forward=True)
            raise Unfinished(
                f"{settled.side} accepts the writes, but the gateway was not told ({away}): {_AGAIN}"
            ) from error
        figures = {"pause_ms": self._paused_ms()}
        self._record.write(Note("abort", "done", settled.epoch, figures, why), stand=stand, owned=owned, forward=True)
        if isinstance(error, KeyboardInterrupt):
            raise error
        if overtaken:
            raise Busy(
                f"another controller moved the writes meanwhile: {self.target} accepts them (epoch {settled.epoch}),"
                f" and this one gave up ({why}); see `banyan status`"
            ) from error
        raise Aborted(f"given up: {why}; {self.source} accepts the writes again, nothing was changed") from error

    def _arrived(self) -> str:
        return f"{self.target} accepts the writes"

    def _paused_ms(self) -> float:
        return round((self._clock.now() - self._held_at) * 1000, 3)

    def _budget_left_s(self) -> float:
        return self.budgets.pause_ms / 1000 * CROSS_BEFORE - (self._clock.now() - self._held_at)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


_AGAIN = "run the same command again"
