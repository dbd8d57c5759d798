"""The control period: read, decide, journal the intent, act, journal the result. Knows nothing of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pi_agent.clock import AMSTERDAM, Clock
from pi_agent.config import Battery
from pi_agent.control import HOLD, Decision, Kind, decide
from pi_agent.driver import Driver
from pi_agent.errors import DriverError
from pi_agent.journal import Entry, Journal, Step
from pi_agent.limits import START, limited
from pi_agent.model import AckState, Command, Document, Mode, Reading, Setpoint, Slot
from pi_agent.timekeeping import Timekeeper

log = logging.getLogger("pi_agent")

#: Called between two steps of the journal; tests kill the process in it.
Checkpoint = Callable[[Step], None]

#: A reading older than this is no reading.
READING_VALID_S = 60.0
#: Wall and monotonic clock may drift apart so much between two periods before it counts as a jump.
JUMP_S = 2.0


@dataclass(frozen=True, slots=True)
class View:
    """What the controller sees and does, for the status file."""

    reading: Reading | None
    decision: Decision
    applied: Setpoint
    clock_jumps: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class Guards:
    """What may make the schedule or the clock doubtful; the defaults doubt nothing."""

    max_skew_s: float = 0.0
    stale_s: float = 0.0
    fallback: tuple[Slot, ...] = ()


class Controller:
    def __init__(
        self,
        journal: Journal,
        driver: Driver,
        battery: Battery,
        clock: Clock,
        checkpoint: Checkpoint = lambda step: None,
        guards: Guards = Guards(),
        timekeeper: Timekeeper | None = None,
    ) -> None:
        self._journal = journal
        self._driver = driver
        self._battery = battery
        self._clock = clock
        self._checkpoint = checkpoint
        self._guards = guards
        self._timekeeper = timekeeper or Timekeeper()
        self._schedule = journal.schedule()
        self._commands = {c.ref: c for c in journal.commands()}
        self._deadlines = {c.ref: self._deadline(c) for c in self._commands.values()}
        self._reading: tuple[Reading, float] | None = None
        self._past = START
        self._last = (clock.now(), clock.monotonic())
        self._done: str | None = None  # the ref whose result is journaled and that is in force
        self.heard_at: datetime | None = None  # when a backend last gave an answer, also before this start
        self.issuer = "legacy"  # of what has no other: fallback slots
        self.view = View(None, Decision(HOLD, Kind.NONE, "starting"), HOLD, 0, None)

    def _deadline(self, command: Command) -> float:
        """When a command ends on the clock that does not jump: a wall clock set back must not prolong it."""
        monotonic = self._clock.monotonic()
        now = self._timekeeper.latest(self._clock.now(), monotonic)
        return monotonic + (command.expires_at - now).total_seconds()

    @property
    def schedule_version(self) -> int:
        return self._schedule.version

    def start(self) -> None:
        """Learn what a killed predecessor had done, then make safe; the first `tick` goes on from there.

        1. The predecessor journaled an intent and was killed: before or after it acted, the journal cannot say.
        2. The battery can, if it knows the ref of the last setpoint that it took: it is asked before it is made safe.
        3. A slot that was not begun and is over is told as failed; a command that was not begun runs now, or expires.
           To begin again what had been begun is no second execution: a setpoint is a state, and its end is the same.
        """
        try:
            last_ref = self._driver.read().ref
        except DriverError as error:
            log.warning("no reading at the start: %s", error)
            last_ref = ""
        self.make_safe()
        now, monotonic = self._clock.now(), self._clock.monotonic()
        intents = dict(self._journal.open_intents())
        if last_ref in intents:
            self._journal.record(last_ref, AckState.SUCCEEDED, now, "found done after a restart")
            del intents[last_ref]
        self._expire(now, monotonic)
        in_force = self._decide(now, monotonic).setpoint.ref
        for ref, kind in intents.items():
            if kind in (Kind.SLOT.value, Kind.FALLBACK.value) and ref != in_force:
                self._journal.record(ref, AckState.FAILED, now, "the agent stopped before it acted")

    def make_safe(self) -> None:
        try:
            self._driver.safe()
        except DriverError as error:
            log.error("the battery could not be made safe: %s", error)
        self._past = self._past.then(HOLD, self._clock.monotonic())
        self._checkpoint(Step.SAFE)

    def receive(self, document: Document, issuer: str = "legacy") -> bool:
        """Keep what a poll brought; the next `tick` acts on it. True when there was something new."""
        now = self._timekeeper.latest(self._clock.now(), self._clock.monotonic())
        if not self._journal.receive(document, now, issuer):
            return False
        self._checkpoint(Step.RECEIVED)
        self._schedule = self._journal.schedule()
        self._commands = {c.ref: c for c in self._journal.commands()}
        self._deadlines = {ref: self._deadlines.get(ref, self._deadline(c)) for ref, c in self._commands.items()}
        return True

    def tick(self) -> None:
        """One control period. Raises nothing for a battery that fails: it is made safe and told."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        jumps = self.view.clock_jumps + self._jumped(now, monotonic)
        reading = self._read(monotonic)
        self._expire(now, monotonic)
        decision = self._decide(now, monotonic)
        wanted = limited(decision.setpoint, reading, self._battery, self._past, monotonic)
        fault = self._carry_out(decision, wanted, reading, now)
        if fault is None:
            self._past = self._past.then(wanted, monotonic)
        self.view = View(reading, decision, HOLD if fault else wanted, jumps, fault)

    def _jumped(self, now: datetime, monotonic: float) -> int:
        (wall_before, monotonic_before), self._last = self._last, (now, monotonic)
        jump = (now - wall_before) - timedelta(seconds=monotonic - monotonic_before)
        if abs(jump.total_seconds()) <= JUMP_S:
            return 0
        log.warning("the wall clock jumped by %.1f s", jump.total_seconds())
        return 1

    def _read(self, monotonic: float) -> Reading | None:
        """The last reading while it is fresh: one failed read is not an empty battery."""
        try:
            self._reading = (self._driver.read(), monotonic)
        except DriverError as error:
            log.warning("no reading: %s", error)
        if self._reading is None or monotonic - self._reading[1] > READING_VALID_S:
            return None
        return self._reading[0]

    def _expire(self, now: datetime, monotonic: float) -> None:
        latest = self._timekeeper.latest(now, monotonic)
        over = [c for ref, c in self._commands.items() if c.expires_at <= latest or self._deadlines[ref] <= monotonic]
        if not over:
            return
        self._journal.expire(over, now)
        self._checkpoint(Step.EXPIRED)
        for command in over:
            del self._commands[command.ref], self._deadlines[command.ref]

    def _decide(self, now: datetime, monotonic: float) -> Decision:
        guards = self._guards
        return decide(
            now.astimezone(AMSTERDAM),
            self._schedule,
            list(self._commands.values()),
            distrust=self._timekeeper.distrust(now, monotonic, guards.max_skew_s),
            stale=self._stale(now),
            fallback=guards.fallback,
        )

    def _stale(self, now: datetime) -> bool:
        limits = [s for s in (self._guards.stale_s, self._schedule.fallback_after_s) if s]
        return bool(limits) and self.heard_at is not None and (now - self.heard_at).total_seconds() > min(limits)

    def _carry_out(self, decision: Decision, wanted: Setpoint, reading: Reading | None, now: datetime) -> str | None:
        """What went wrong, or None. A setpoint in force is only renewed: the journal has it already."""
        ref = decision.setpoint.ref
        new = ref != "" and ref != self._done and self._journal.state_of(ref) is not Entry.SUCCEEDED
        if new and decision.kind is Kind.COMMAND and wanted.mode is not decision.setpoint.mode:
            if reading is not None:
                self._rejected(decision, now)
                return None
            new = False  # without a reading nobody knows whether it may be begun: it waits, until it expires
        if new:
            self._journal.intend(decision.setpoint, decision.kind.value, now, self.issuer)
            self._checkpoint(Step.INTENT)
        try:
            self._driver.apply(wanted)
        except DriverError as error:
            return self._failed(decision, str(error), now)
        if new:
            self._checkpoint(Step.ACTED)
            note = "" if wanted == decision.setpoint else f"limited to {wanted.mode.value} {wanted.power_w} W"
            self._journal.record(ref, AckState.SUCCEEDED, now, note)
            self._checkpoint(Step.RESULT)
            log.info("%s %s: %s %d W", decision.kind.value, ref, wanted.mode.value, wanted.power_w)
            self._done = ref
        elif self._done != ref:
            self._done = ref if ref and self._journal.state_of(ref) is Entry.SUCCEEDED else None
        return None

    def _rejected(self, decision: Decision, now: datetime) -> None:
        """A command that the battery's own limits forbid is over; until the next period nothing flows."""
        ref = decision.setpoint.ref
        self._journal.intend(decision.setpoint, decision.kind.value, now, self.issuer)
        self._journal.record(ref, AckState.REJECTED, now, "a limit of the battery forbids it")
        self._checkpoint(Step.RESULT)
        self._commands.pop(ref)
        self._deadlines.pop(ref)
        log.warning("command %s is rejected: a limit of the battery forbids it", ref)
        try:
            self._driver.apply(Setpoint(Mode.HOLD, 0, self._done or ""))
        except DriverError as error:
            log.error("the battery failed: %s", error)

    def _failed(self, decision: Decision, fault: str, now: datetime) -> str:
        """Make safe and say so. A failed command is over; a slot stays in force and is tried again each period."""
        self._done = None
        self.make_safe()
        ref = decision.setpoint.ref
        state = self._journal.state_of(ref) if ref else None
        if decision.kind is Kind.COMMAND and state not in (None, Entry.SUCCEEDED):
            self._commands.pop(ref)
            self._deadlines.pop(ref)
        if ref:
            self._journal.record(ref, AckState.FAILED, now, fault)
            self._checkpoint(Step.RESULT)
        if fault != self.view.fault:
            log.error("the battery failed: %s", fault)
        return fault
