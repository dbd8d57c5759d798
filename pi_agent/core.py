"""The agent without I/O: what it knows, what it does next, and each exchange with a backend as a generator.

The running agent (`pi_agent.agent`) drives it with httpx and real files; a simulated fleet drives ten thousand of them.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace
from datetime import datetime
from typing import Any

from pi_agent import assignment as assignments
from pi_agent import flags
from pi_agent.activity import NEVER, Activity
from pi_agent.assignment import Assignment, Check, Rules
from pi_agent.backends import EPOCH_HEADER, Backend, LegacyBackend, ServiceBackend, Verdict
from pi_agent.backoff import Backoff, Uniform, phase
from pi_agent.clock import AMSTERDAM, Clock
from pi_agent.config import Config
from pi_agent.control import Kind
from pi_agent.controller import Checkpoint, Controller, Guards
from pi_agent.driver import Driver
from pi_agent.errors import ExchangeError, Refused, Stale
from pi_agent.exchange import Exchange, Response, watched
from pi_agent.journal import Journal, Step
from pi_agent.model import Document
from pi_agent.timekeeping import Timekeeper
from pi_agent.trial import one_round

log = logging.getLogger("pi_agent")

#: Polls that the server keeps waiting follow each other at once, but never begin closer together than this.
SPACING_S = 1.0
#: How often the time is written down: a memory card does not like more.
REMEMBER_S = 600.0
#: A service without a place for reports is asked again after so long.
NO_REPORTS_S = 3600.0
#: Refs of what the agent does by itself, not by a command.
_UNHURRIED = ("schedule-", "slot-", "fallback-")
_FOLLOWING = {Kind.COMMAND: "command", Kind.SLOT: "schedule", Kind.FALLBACK: "fallback"}


class Core:
    """`journal` and `driver` are the caller's. Nothing here blocks, sleeps or speaks to the network."""

    def __init__(
        self, config: Config, journal: Journal, driver: Driver, clock: Clock, uniform: Uniform, checkpoint: Checkpoint
    ) -> None:
        self.config, self.journal, self.clock = config, journal, clock
        self._uniform, self._checkpoint = uniform, checkpoint
        timing = config.timing
        floor, heard = _remembered(journal)
        self.timekeeper = Timekeeper(floor)
        guards = Guards(timing.max_skew_s, timing.stale_s, config.fallback)
        self.controller = Controller(journal, driver, config.battery, clock, checkpoint, guards, self.timekeeper)
        self.controller.heard_at = heard
        self._backoff = Backoff(timing.backoff_base_s, timing.backoff_cap_s)
        retreat = Backoff(timing.v2_retreat_s, timing.v2_retreat_cap_s)
        self._rules = Rules(timing.trial_s, timing.trial_successes, timing.max_v2_errors, retreat)
        self._service = ServiceBackend(config.device_id, config.token)
        self._backends: dict[str, Backend] = {
            flags.LEGACY: LegacyBackend(config.device_id, config.token, AMSTERDAM),
            flags.V2: self._service,
        }
        self.flag = _stored_flag(journal)
        saved = assignments.from_disk(journal.setting("assignment"), self._rules, clock.monotonic(), uniform)
        self.assignment = self._rules.wish(saved, self.flag.value)
        self._save(saved)
        self.controller.issuer = self.assignment.primary
        self.last_contact: datetime | None = None
        self.last_error: str | None = None
        saved_etag: Any = journal.setting("etag")
        known = isinstance(saved_etag, dict) and saved_etag.get("backend") == self.assignment.primary
        # After a power cut ten thousand agents ask for news, not for what they have.
        self._etag: str | None = saved_etag.get("etag") if known else None
        self._remembered_at = -NEVER
        self._unreachable: dict[str, float] = {}
        self.poll = Activity("poll", self._poll, timing.poll_s, yields=True)
        self.acks = Activity("acks", self._deliver)
        self.trial = Activity("trial", self._try_candidate)
        self.report = Activity("report", self._report, timing.report_s)
        self.ask = Activity("flag", self._ask_flag, timing.flags_s)
        self.activities = [self.poll, self.acks, self.trial, self.report, self.ask]

    def start(self) -> None:
        """Make safe, and give each activity its place in its interval: ten thousand agents do not come at once."""
        self.controller.start()
        now = self.clock.monotonic()
        self.poll.due = now + phase(self.config.device_id, self.poll.interval_s)
        self.report.due = now + phase(self.config.device_id, self.report.interval_s)
        if self.config.flags_url:
            self.ask.due = now + phase(self.config.device_id, self.ask.interval_s)
        self._schedule_trial()

    def control(self) -> None:
        """One control period. Raises: sqlite3.Error, OSError when the journal cannot be written."""
        monotonic = self.clock.monotonic()
        self._assign(self._rules.overdue(self.assignment, monotonic, self._uniform))
        self.controller.tick()
        if monotonic - self._remembered_at >= REMEMBER_S:
            self.remember_time()
        self._hasten_acks()

    def remember_time(self) -> None:
        """For the next start: which time has been for certain, and when a backend was last heard of."""
        now, monotonic = self.clock.now(), self.clock.monotonic()
        if self.timekeeper.distrust(now, monotonic, self.config.timing.max_skew_s):
            return
        heard = self.controller.heard_at
        self.journal.set("clock", {"at": now.isoformat(), "heard": heard.isoformat() if heard else None})
        self._remembered_at = monotonic

    def _hasten_acks(self) -> None:
        """Somebody waits to hear of a command; of schedules and slots a fleet tells one after the other."""
        if self.acks.running or self.acks.failures or not self.journal.counts().pending:
            return
        now, spread = self.clock.monotonic(), self.config.timing.ack_spread_s
        waiting = self.journal.pending(20) if spread and self.acks.due > now else []
        if waiting and all(p.ack.ref.startswith(_UNHURRIED) for p in waiting):
            now += phase(self.config.device_id, spread)
            if self.acks.due != NEVER:
                return
        self.acks.hasten(now)

    def run(self, activity: Activity) -> Exchange[None]:
        """One exchange of an activity, and when the next is due. Raises nothing that the agent survives."""
        activity.running, began, activity.due = True, activity.due, NEVER
        delay: float | None = None
        try:
            delay = yield from watched(activity.step(), self._look)
            activity.failures = 0
        except ExchangeError as error:
            self.last_error = self.last_error or f"{activity.name}: {error}"
            delay = self._backoff.delay(activity.failures, self._uniform, _retry_after(error))
            activity.failures += 1
        except (sqlite3.Error, OSError) as error:
            self.last_error = f"state: {error}"
            delay = self._backoff.delay(max(activity.failures, 1), self._uniform)
            activity.failures += 1
        finally:
            activity.running = False
        now = self.clock.monotonic()
        due = max(min(began, now) + activity.interval_s, now) if delay is None else now + delay
        activity.due = min(activity.due, due)  # it may have been hastened meanwhile
        if activity is self.trial:
            self._schedule_trial()  # goes by the state, not by an interval
        elif activity is self.acks:
            self._hasten_acks()

    def _look(self, response: Response) -> None:
        self.timekeeper.note(response.headers.get("date"), self.clock.monotonic())
        epoch = response.headers.get(EPOCH_HEADER.lower(), "")
        if epoch.isascii() and epoch.isdigit() and len(epoch) < 16:
            self._assign(self._rules.seen(self.assignment, int(epoch)))

    # Polls

    def _poll(self) -> Exchange[float | None]:
        backend = self._backends[self.assignment.primary]
        began, known = self.clock.monotonic(), self._etag
        try:
            fetched = yield from backend.fetch(known, self.config.timing.wait_s, self.assignment.epoch)
            if fetched.document is not None:
                self._take(fetched.document, backend)
        except ExchangeError as error:
            self._note_failure(backend, error)
            raise
        self._note_success(backend)
        # Only who knows a document is kept waiting: having the first one, ask whether the server would.
        first = known is None and self._etag is not None and self.config.service_url is not None
        if not fetched.waited and not first:
            return None
        return max(began + SPACING_S - self.clock.monotonic(), 0.0)

    def _take(self, document: Document, backend: Backend) -> None:
        """What the backend in charge says. One that lost its charge while it answered is not listened to."""
        now = self.assignment
        if backend.name != now.primary:
            return
        if not now.obeys(backend.name, document.epoch):
            raise Stale(f"its epoch is {document.epoch}, the battery has seen {now.epoch}")
        self._assign(self._rules.seen(now, document.epoch))
        fresh = tuple(c for c in document.commands if self.assignment.obeys(backend.name, c.epoch))
        new = self.controller.receive(replace(document, commands=fresh), backend.name)
        if document.etag is not None and document.etag != self._etag:
            self.journal.set("etag", {"backend": backend.name, "etag": document.etag})  # after what it stands for
        self._etag = document.etag
        if new:
            self._hasten_acks()

    # Acks

    def _deliver(self) -> Exchange[float | None]:
        """A batch for each issuer, the backend in charge first; another one's trouble does not hold up its acks."""
        primary = self.assignment.primary
        trouble: ExchangeError | None = None
        for issuer in sorted(self.journal.issuers(), key=lambda name: name != primary):
            try:
                yield from self._deliver_to(issuer)
            except ExchangeError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        return 0.0 if self.journal.counts().pending else NEVER

    def _deliver_to(self, issuer: str) -> Exchange[None]:
        backend = self._route(issuer)
        waiting = self.journal.pending(backend.batch, issuer)
        if not waiting:
            return
        try:
            verdicts = yield from backend.deliver([p.ack for p in waiting], self.assignment.epoch)
        except ExchangeError as error:
            self._unreachable.setdefault(backend.name, self.clock.monotonic())
            self._note_failure(backend, error)
            raise
        self._unreachable.pop(backend.name, None)
        self._checkpoint(Step.SENT)
        refused = [p.seq for p, v in zip(waiting, verdicts, strict=True) if v is Verdict.REFUSED]
        self.journal.accepted([p.seq for p, v in zip(waiting, verdicts, strict=True) if v is Verdict.ACCEPTED])
        self._checkpoint(Step.SETTLED)
        if not refused:
            self._note_success(backend)
            return
        self.journal.refused(refused, self.config.timing.max_refusals)
        log.warning("%s refused %d acks", backend.name, len(refused))
        refusal = Refused(422)
        self._note_failure(backend, refusal)
        raise refusal

    def _route(self, issuer: str) -> Backend:
        """The issuer; or the backend in charge, which hands on what an issuer that is gone for long should know."""
        backend = self._backends.get(issuer, self._backends[self.assignment.primary])
        since = self._unreachable.get(backend.name)
        if backend.name == self.assignment.primary or since is None:
            return backend
        gone = self.clock.monotonic() - since >= self.config.timing.relay_s
        return self._backends[self.assignment.primary] if gone else backend

    # What the battery does, for the service

    def _report(self) -> Exchange[float | None]:
        if self.assignment.primary != flags.V2:
            return None
        try:
            skew_s = yield from self._service.report(self._reported(), self.assignment.epoch)
        except Refused as error:
            if error.status in (404, 405):
                return NO_REPORTS_S
            raise
        if skew_s is not None:
            self.timekeeper.note_skew(skew_s, self.clock.now(), self.clock.monotonic())
        return None

    def _reported(self) -> dict[str, Any]:
        view = self.controller.view
        following = _FOLLOWING.get(view.decision.kind, "safe")
        values: dict[str, Any] = {
            "observed_at": self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "schedule_version": self.controller.schedule_version,
            "mode": view.applied.mode.value,
            "power_w": view.applied.power_w,
            "following": "safe" if view.fault else following,
            "backend": self.assignment.primary,
        }
        return values if view.reading is None else values | {"soc": round(view.reading.soc, 4)}

    # Which backend

    def _ask_flag(self) -> Exchange[float | None]:
        flag = yield from flags.evaluate(self.config.device_id, self.flag)
        if flag == self.flag:
            return None
        if flag.value != self.flag.value:
            log.info("flag %s: %s → %s", flags.FLAG, self.flag.value, flag.value)
        self.flag = flag
        self.journal.set("flag", {"value": flag.value, "etag": flag.etag})
        self._assign(self._rules.wish(self.assignment, flag.value))
        return None

    def _try_candidate(self) -> Exchange[float | None]:
        """One round of checks of the candidate; the backend in charge and the battery know nothing of it."""
        if self.assignment.trial is None:
            self._assign(self._rules.begin(self.assignment, self.clock.monotonic()))
            if self.assignment.trial is None:
                return NEVER
            self._checkpoint(Step.TRIAL)
            log.info("%s is on trial", self.assignment.trial.candidate)
        backend = self._backends[self.assignment.trial.candidate]
        known, epoch = self.journal.schedule(), self.assignment.epoch
        try:
            yield from one_round(backend, known, epoch, self.clock.now, self._passed)
        except ExchangeError as error:
            trial = self.assignment.trial
            reason = f"{trial.check.name.lower() if trial else 'deadline'}: {error}"
            self._assign(self._rules.failed(self.assignment, reason, self.clock.monotonic(), self._uniform))
        return None

    def _passed(self, check: Check) -> bool:
        self._assign(self._rules.passed(self.assignment, check, self.clock.monotonic(), self._uniform))
        return self.assignment.trial is not None

    def _schedule_trial(self) -> None:
        if self.trial.running:
            return
        now, monotonic = self.assignment, self.clock.monotonic()
        if now.trial is not None:
            due = monotonic + self.config.timing.trial_pause_s
        elif now.wanted == flags.V2 and now.primary != flags.V2:
            due = max(now.retry_at or monotonic, monotonic)
        else:
            due = NEVER
        self.trial.due = due
        self.trial.wake()

    def _assign(self, after: Assignment) -> None:
        """Take a new state, on disk before it counts; and what follows from it."""
        before = self.assignment
        if after == before:
            return
        self.assignment = after
        self._save(before)
        if before.trial is not None and after.trial is None and after.primary == before.primary:
            log.warning("%s is unusable (%s): %s stays in charge", before.trial.candidate, after.reason, after.primary)
        if after.primary != before.primary:
            if before.primary == flags.V2 and after.wanted == flags.V2:
                log.warning("%s is unusable (%s): back to %s for a while", before.primary, after.reason, after.primary)
            else:
                log.info("%s is in charge", after.primary)
            self._etag = None
            self.controller.issuer = after.primary
            self._checkpoint(Step.COMMITTED)
            self.poll.hasten(self.clock.monotonic())
        self._schedule_trial()

    def _save(self, before: Assignment) -> None:
        saved = assignments.to_disk(self.assignment)
        if saved != assignments.to_disk(before):
            self.journal.set("assignment", saved)

    def _note_success(self, backend: Backend) -> None:
        self._assign(self._rules.primary_succeeded(self.assignment, backend.name))
        self.last_contact, self.last_error = self.clock.now(), None
        self.controller.heard_at = self.last_contact

    def _note_failure(self, backend: Backend, error: ExchangeError) -> None:
        self.last_error = f"{backend.name}: {error}"
        if isinstance(error, Refused) and error.status == 429:
            return  # told to slow down; nothing is wrong with the backend
        now, monotonic = self.assignment, self.clock.monotonic()
        self._assign(self._rules.primary_failed(now, backend.name, str(error), monotonic, self._uniform))


def _stored_flag(journal: Journal) -> flags.Flag:
    """The last known good; legacy when there is none."""
    saved: Any = journal.setting("flag")
    if isinstance(saved, dict) and saved.get("value") in (flags.LEGACY, flags.V2):
        return flags.Flag(saved["value"], saved.get("etag"))
    return flags.Flag()


def _remembered(journal: Journal) -> tuple[datetime | None, datetime | None]:
    """(a time that has been, when a backend was last heard of) as the last life of the agent wrote them down."""
    saved: Any = journal.setting("clock")
    if not isinstance(saved, dict):
        return None, None
    try:
        floor = datetime.fromisoformat(saved["at"])
        heard = datetime.fromisoformat(saved["heard"]) if saved.get("heard") else None
    except (KeyError, TypeError, ValueError):
        return None, None
    return floor, heard


def _retry_after(error: ExchangeError) -> float | None:
    return error.retry_after if isinstance(error, Refused) else None
