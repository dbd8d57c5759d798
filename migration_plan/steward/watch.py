"""The steward's loop: every two seconds a scrape of the gateway and a look at the databases, for waves on their way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from gateway.errors import AdminError
from migration_plan.context import Context
from migration_plan.errors import PlanError
from migration_plan.gates.analysis import analyse
from migration_plan.gates.judge import Finding
from migration_plan.gates.traffic import Recent, read
from migration_plan.ledger import Row, State
from migration_plan.plan import Domain
from migration_plan.steward.act import Acted, act, reason
from migration_plan.steward.announce import Announcement, Announcer
from migration_plan.steward.decide import POLL_S, Decision, Look
from migration_plan.steward.looks import DomainLook, Seen, measurements, watched
from migration_plan.steward.waves import Wave, forced_gates, last_act

ACTOR = "steward"
WATCHED = ("shadow", "canary", "service")

log = structlog.get_logger("steward")

MakeContext = Callable[[], Context]


@dataclass(slots=True)
class Figures:
    """For /metrics; they only grow, but `polled_at` and `problem`."""

    polls: int = 0
    seconds: float = 0.0
    polled_at: float | None = None
    actions: dict[tuple[str, str], int] = field(default_factory=dict)
    problem: str | None = None

    def count(self, domain: str, action: str) -> None:
        self.actions[domain, action] = self.actions.get((domain, action), 0) + 1


class Steward:
    """`make` opens a context of its own: threads share none. `dry_run`: it says what it would do, and does nothing."""

    def __init__(
        self,
        make: MakeContext,
        announcer: Announcer,
        *,
        interval_s: float = POLL_S,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._announcer, self._interval_s, self._dry_run = make, announcer, interval_s, dry_run
        self._clock = clock
        self._context = make()
        plan = self._context.plan
        self._pool = ThreadPoolExecutor(max_workers=2 * len(plan.domains) + 1, thread_name_prefix="steward")
        self._contexts = {name: make() for name in plan.domains}
        self._looks = {name: DomainLook(self._contexts[name], name, self._pool) for name in plan.domains}
        self._recent = {name: Recent(domain.stages.window_s) for name, domain in plan.domains.items()}
        self._acting: dict[tuple[str, int], tuple[Decision, Future[Acted]]] = {}
        self.waves: dict[tuple[str, int], Wave] = {}
        self.frozen: Mapping[str, Row] = {}
        self.figures = Figures()

    @property
    def announcer(self) -> Announcer:
        return self._announcer

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. What goes wrong in a look is logged once, and looked at again."""
        while not stop.is_set():
            began = self._clock()
            self.poll()
            stop.wait(max(0.0, self._interval_s - (self._clock() - began)))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for context in (self._context, *self._contexts.values()):
            context.close()
        self._announcer.close()

    def poll(self) -> None:
        """One look at everything that is on its way. Never raises."""
        began = self._clock()
        try:
            self._collect()
            self._poll()
            problem = None
        except (PlanError, AdminError) as error:
            problem = str(error)
        except Exception as error:  # a steward that ended would watch nothing
            log.exception("a look failed")
            problem = f"{type(error).__name__}: {error}"
        if problem != self.figures.problem:
            log.warning("cannot look" if problem else "looks again", problem=problem)
        now = self._clock()
        self.figures.problem = problem
        self.figures.polls += 1
        self.figures.seconds += now - began
        if problem is None:
            self.figures.polled_at = now

    def _poll(self) -> None:
        ledger = self._context.ledger()
        states, self.frozen = ledger.states(), ledger.frozen()
        under_way = {key: state for key, state in states.items() if self._watches(state)}
        for key in self.waves.keys() - under_way.keys():
            del self.waves[key]
        if not under_way:
            return
        said, failures = self._figures(), list[Exception]()
        for name in dict.fromkeys(domain for domain, _ in under_way):
            mine = [state for (domain, _), state in under_way.items() if domain == name]
            try:
                self._domain(name, mine, said)
            except Exception as error:  # the others are looked at all the same
                failures.append(error)
        if failures:
            raise failures[0]

    def _watches(self, state: State) -> bool:
        domain = self._context.plan.domains.get(state.domain)
        return domain is not None and state.wave < len(domain.waves) and state.stand.phase in WATCHED

    def _figures(self) -> dict[str, Any] | None:
        try:
            return self._context.admin().figures()
        except AdminError as error:
            log.debug("the gateway does not answer", why=str(error))
            return None

    def _domain(self, name: str, states: list[State], said: dict[str, Any] | None) -> None:
        plan = self._context.plan.domain(name)
        for state in states:
            self._arrive(plan, state)
        now, recent = self._clock(), self._recent[name]
        if said is not None:
            recent.take(now, str(said["node"]), read(said, name))
        carrying = {"reverse" if state.stand.owner == "service" else "forward" for state in states}
        seen = self._looks[name].see(frozenset(carrying))
        found = watched(plan, name, said, recent, now, seen)
        for state in states:
            findings = analyse(found, plan, state.stand)
            self._judge(state, findings, said is not None, seen, now)

    def _arrive(self, plan: Domain, state: State) -> None:
        key = (state.domain, state.wave)
        wave = self.waves.get(key)
        if wave is not None and wave.stand == state.stand:
            return
        rows = self._context.ledger().history(state.domain, limit=200)
        if wave is None:
            wave = self.waves[key] = Wave(plan.stages, state.stand, self._acted_at(rows, state.wave))
        wave.arrive(state.stand, forced_gates(rows, state.wave, state.stand))
        self._recent[state.domain].forget()

    def _acted_at(self, rows: list[Row], wave: int) -> float | None:
        """The cool-down outlives this process."""
        act = last_act(rows, ACTOR, wave)
        return self._clock() - (datetime.now(UTC) - act.at).total_seconds() if act is not None else None

    def _judge(self, state: State, findings: list[Finding], gateway: bool, seen: Seen | None, now: float) -> None:
        key = (state.domain, state.wave)
        wave = self.waves[key]
        measured = measurements(findings, gateway=gateway, databases=seen is not None, forced=wave.forced)
        decision = wave.judge(Look(now, measured), findings, frozen=state.domain in self.frozen)
        if decision.action == "nothing" or key in self._acting:
            return
        concerned = [finding for finding in findings if finding.gate in decision.gates]
        if self._dry_run:
            would = f"would {decision.action} {state.domain}: {reason(decision, concerned)}"
            log.warning(would)
            wave.acted(decision, Acted(True, would), now)
            return
        self._acting[key] = decision, self._pool.submit(self._act, state, decision, concerned)

    def _act(self, state: State, decision: Decision, findings: list[Finding]) -> Acted:
        """In a thread, with new connections: an old one may hang with its server, a new one gives up after 3 s."""
        with self._make() as context:
            acted = act(context, state.domain, state.wave, state.stand, decision, findings)
        if acted.done or acted.frozen:
            self.figures.count(state.domain, decision.action)
            self._tell(state, decision, findings, acted)
        else:
            log.warning("not done", domain=state.domain, why=acted.text, wanted=reason(decision, findings))
        return acted

    def _tell(self, state: State, decision: Decision, findings: list[Finding], acted: Acted) -> None:
        self._announcer.tell(
            Announcement(
                text=f"{acted.text}: {reason(decision, findings)}",
                action=decision.action,
                domain=state.domain,
                wave=state.wave,
                stage=str(state.stand),
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                actor=ACTOR,
                gates={finding.gate: finding.measured for finding in findings},
                after=acted.back,
                frozen=acted.frozen,
                run_id=acted.run_id,
            )
        )

    def _collect(self) -> None:
        for key, (decision, future) in list(self._acting.items()):
            if future.done():
                del self._acting[key]
                wave = self.waves.get(key)
                if wave is not None:
                    wave.acted(decision, _result(future, key[0]), self._clock())


def _result(future: Future[Acted], domain: str) -> Acted:
    try:
        return future.result()
    except Exception as error:  # the next look tries again
        log.exception("an act failed", domain=domain)
        return Acted(False, f"{type(error).__name__}: {error}")
