"""Answers with the model's plan in time, or with the rules': nobody waits for a planner that fails or is slow.

A breaker (pybreaker) opens after some failures in a row; while it is open the rules answer at once, and after a while
one question tries the model again. A question that makes no sense is nobody's failure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from pybreaker import CircuitBreaker, CircuitBreakerError

from services.devices.optimizer import horizon, rules
from services.devices.optimizer.accuracy import Drift
from services.devices.optimizer.errors import BadInput, NotPlanned
from services.devices.optimizer.metrics import PlannerMetrics
from services.devices.optimizer.models import Model, levels_of
from services.devices.optimizer.planning import Plan, Question, plan

log = structlog.get_logger()

#: A plan takes a millisecond; a second means that something is wrong.
SECONDS = 1.0
FAILURES = 3
RESET_SECONDS = 30.0
#: Plans made at once: more would only share the cores.
AT_ONCE = 2

Make = Callable[[Question, int], Plan]


@dataclass(frozen=True, slots=True)
class Answer:
    """`source` model or rules; `reason` says why the rules had to answer."""

    plan: Plan
    source: str
    reason: str | None = None


class Planner:
    def __init__(
        self,
        metrics: PlannerMetrics,
        make: Make = plan,
        *,
        seconds: float = SECONDS,
        reset_seconds: float = RESET_SECONDS,
    ) -> None:
        self.metrics = metrics
        self._make, self._seconds = make, seconds
        self._breaker = CircuitBreaker(fail_max=FAILURES, reset_timeout=reset_seconds, exclude=[BadInput])
        self._room = asyncio.Semaphore(AT_ONCE)
        self._drift = {"price": Drift(), "load": Drift()}

    async def answer(self, question: Question, model: Model, starts: Sequence[datetime]) -> Answer:
        """Raises: BadInput."""
        self._see(question)
        made = await self._answer(question, model, horizon.local_hours(starts))
        self.metrics.plans.labels(str(model.version), made.source).inc()
        return made

    async def _answer(self, question: Question, model: Model, local_hours: Sequence[int]) -> Answer:
        if model.kind == "timer":
            return Answer(rules.by_timer(question, local_hours), "model")
        try:
            with self._breaker.calling():
                return Answer(await self._by_model(question, levels_of(model.kind, model.settings)), "model")
        except CircuitBreakerError:
            reason = "the planner failed before and is left alone for a moment"
        except NotPlanned as error:
            reason = str(error)
        return Answer(rules.by_timer(question, local_hours), "rules", reason)

    async def _by_model(self, question: Question, levels: int) -> Plan:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._seconds), self._room:
                made = await asyncio.to_thread(self._make, question, levels)
        except BadInput:
            raise
        except TimeoutError:
            raise NotPlanned(f"the planner took longer than {self._seconds:g} s") from None
        except Exception as error:
            log.error("planner failed", exc_info=error)
            raise NotPlanned(f"the planner failed: {type(error).__name__}") from None
        self.metrics.seconds.observe(time.perf_counter() - began)
        return made

    def _see(self, question: Question) -> None:
        for name, values in (("price", question.prices), ("load", question.load)):
            self._drift[name].see(values.tolist())
            if (index := self._drift[name].index()) is not None:
                self.metrics.drift.labels(name).set(index)
