"""The control period: read, decide, journal the intent, act, journal the result. Knows nothing of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pi_agent.battery import Driver
from pi_agent.clock import AMSTERDAM, Clock
from pi_agent.config import Battery
from pi_agent.control import HOLD, Decision, Kind, decide, limited
from pi_agent.errors import DriverError
from pi_agent.model import AckState, Command, Document, Reading, Setpoint
from pi_agent.store import Store

log = logging.getLogger("pi_agent")

#: Called between two steps of the journal; tests kill the process in it.
Checkpoint = Callable[[str], None]

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


class Controller:
    def __init__(
        self, store: Store, driver: Driver, battery: Battery, clock: Clock, checkpoint: Checkpoint = lambda name: None
    ) -> None:
        self._store = store
        self._driver = driver
        self._battery = battery
        self._clock = clock
        self._checkpoint = checkpoint
        self._schedule = store.schedule()
        self._commands = {c.ref: c for c in store.commands()}
        self._deadlines = {c.ref: self._deadline(c) for c in self._commands.values()}
        self._reading: tuple[Reading, float] | None = None
        self._last = (clock.now(), clock.monotonic())
        self._done: str | None = None  # the ref whose result is journaled and that is in force
        self.clock_trusted = True
        self.view = View(None, Decision(HOLD, Kind.NONE, "starting"), HOLD, 0, None)

    def _deadline(self, command: Command) -> float:
        """When a command ends on the clock that does not jump: a wall clock set back must not prolong it."""
        return self._clock.monotonic() + (command.expires_at - self._clock.now()).total_seconds()

    @property
    def schedule_version(self) -> int:
        return self._schedule.version

    def start(self) -> None:
        """Learn what a killed predecessor had done, then make safe; the first `tick` goes on from there.

        1. The predecessor journaled an intent and was killed: before or after it acted, the journal cannot say.
        2. The battery can: it knows the ref of the last setpoint that it took. So it is asked before it is made safe.
        3. A slot that was not begun and is over is told as failed; a command that was not begun runs now, or expires.
        """
        try:
            last_ref = self._driver.read().ref
        except DriverError as error:
            log.warning("no reading at the start: %s", error)
            last_ref = ""
        now = self._clock.now()
        intents = dict(self._store.open_intents())
        if last_ref in intents:
            self._store.record(last_ref, AckState.SUCCEEDED, now, "found done after a restart")
            del intents[last_ref]
        self._expire(now, self._clock.monotonic())
        in_force = self._decide(now).setpoint.ref
        for ref, kind in intents.items():
            if kind == Kind.SLOT.value and ref != in_force:
                self._store.record(ref, AckState.FAILED, now, "the agent stopped before it acted")
        self.make_safe()

    def make_safe(self) -> None:
        try:
            self._driver.safe()
        except DriverError as error:
            log.error("the battery could not be made safe: %s", error)

    def receive(self, document: Document) -> bool:
        """Keep what a poll brought; the next `tick` acts on it. True when there was something new."""
        if not self._store.receive(document.schedule, document.commands, self._clock.now()):
            return False
        self._checkpoint("received")
        self._schedule = self._store.schedule()
        self._commands = {c.ref: c for c in self._store.commands()}
        self._deadlines = {ref: self._deadlines.get(ref, self._deadline(c)) for ref, c in self._commands.items()}
        return True

    def tick(self) -> None:
        """One control period. Raises nothing for a battery that fails: it is made safe and told."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        jumps = self.view.clock_jumps + self._jumped(now, monotonic)
        reading = self._read(monotonic)
        self._expire(now, monotonic)
        decision = self._decide(now)
        wanted = limited(decision.setpoint, reading, self._battery)
        fault = self._carry_out(decision, wanted, now)
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
        over = [c for ref, c in self._commands.items() if c.expires_at <= now or self._deadlines[ref] <= monotonic]
        if not over:
            return
        self._store.expire(over, now)
        for command in over:
            del self._commands[command.ref], self._deadlines[command.ref]

    def _decide(self, now: datetime) -> Decision:
        commands = list(self._commands.values())
        return decide(now.astimezone(AMSTERDAM), self._schedule, commands, clock_trusted=self.clock_trusted)

    def _carry_out(self, decision: Decision, wanted: Setpoint, now: datetime) -> str | None:
        """What went wrong, or None. A setpoint in force is only renewed: the journal has it already."""
        ref = decision.setpoint.ref
        new = ref != "" and ref != self._done and self._store.state_of(ref) != "succeeded"
        if new:
            self._store.intend(decision.setpoint, decision.kind.value, now)
            self._checkpoint("intent")
        try:
            self._driver.apply(wanted)
        except DriverError as error:
            return self._failed(decision, str(error), now)
        if new:
            self._checkpoint("acted")
            note = "" if wanted == decision.setpoint else f"limited to {wanted.mode.value} {wanted.power_w} W"
            self._store.record(ref, AckState.SUCCEEDED, now, note)
            self._checkpoint("result")
            log.info("%s %s: %s %d W", decision.kind.value, ref, wanted.mode.value, wanted.power_w)
        self._done = ref or None
        return None

    def _failed(self, decision: Decision, fault: str, now: datetime) -> str:
        """Make safe and say so. A failed command is over; a slot stays in force and is tried again each period."""
        self._done = None
        self.make_safe()
        ref = decision.setpoint.ref
        state = self._store.state_of(ref) if ref else None
        if decision.kind is Kind.COMMAND and state != "succeeded":
            self._commands.pop(ref)
            self._deadlines.pop(ref)
        if ref and state not in ("failed", "succeeded"):
            self._store.record(ref, AckState.FAILED, now, fault)
        if fault != self.view.fault:
            log.error("the battery failed: %s", fault)
        return fault
