"""Breadth first through every state; the shortest way to what must not be; who cannot reach a good end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from migration_plan.model import clients, invariants, outside
from migration_plan.model.controller import Controllers
from migration_plan.model.rules import Rules
from migration_plan.model.state import Limits, State, initial, settled

#: What happens, and the state after it.
Event = tuple[str, State]


class TooMany(Exception):
    """The bounds allow more states than were allowed to be looked at."""


@dataclass(slots=True)
class Found:
    """`problem` None: every state was looked at and is well; else `trace` is a shortest way to it."""

    states: int = 0
    steps: int = 0
    settled: int = 0
    seconds: float = 0.0
    problem: str | None = None
    trace: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"{self.states:,} states, {self.steps:,} steps, {self.settled:,} at rest, {self.seconds:.1f} s"
        if self.problem is None:
            return f"{head}: every invariant holds"
        lines = [f"{number:3}. {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join([f"{head}: {self.problem}", *lines])


class _Search:
    def __init__(self, limits: Limits, rules: Rules, controllers: Controllers, most: int) -> None:
        self._limits, self._rules, self._controllers, self._most = limits, rules, controllers, most
        self._job = len(limits.writes) if limits.job else None
        self._states: list[State] = []
        self._from: list[tuple[int, str]] = []
        self._before: list[list[int]] = []

    def run(self) -> Found:
        began = time.process_time()
        found = self._forward()
        if found.problem is None:
            found.problem, found.trace = self._backward()
        found.seconds = time.process_time() - began
        return found

    def _forward(self) -> Found:
        found = Found()
        numbers: dict[State, int] = {}
        first = initial(self._limits)
        self._note(numbers, first, (-1, "the last canary step; legacy owns the writes"))
        queue = deque([0])
        while queue:
            at = queue.popleft()
            state = self._states[at]
            found.settled += settled(state)
            for text, after in self._events(state):
                found.steps += 1
                known = numbers.get(after)
                if known is None:
                    known = self._note(numbers, after, (at, text))
                    queue.append(known)
                    if (problem := invariants.broken(after, self._rules, len(self._limits.writes))) is not None:
                        found.states, found.problem, found.trace = len(numbers), problem, self._trace(known)
                        return found
                self._before[known].append(at)
            if len(numbers) > self._most:
                raise TooMany(f"more than {self._most:,} states: {found.steps:,} steps so far")
        found.states = len(numbers)
        return found

    def _note(self, numbers: dict[State, int], state: State, origin: tuple[int, str]) -> int:
        number = numbers[state] = len(numbers)
        self._states.append(state)
        self._from.append(origin)
        self._before.append([])
        return number

    def _events(self, state: State) -> Iterator[Event]:
        yield from self._controlled(state)
        yield from outside.apply(state, self._rules)
        yield from clients.gateways(state)
        yield from clients.clients(state, self._rules, self._job)

    def _controlled(self, state: State) -> Iterator[Event]:
        """Operators start verbs, processes take their next call, are frozen (others go on), and die."""
        alive = [controller for controller in state.controllers if controller is not None]
        for slot, controller in enumerate(state.controllers):
            if controller is None:
                if slot == state.controllers.index(None):
                    yield from self._started(state, slot, bool(alive))
                continue
            verb, answers = controller
            name = f"controller {slot} ({verb})"
            call = self._controllers.next_call(verb, answers)
            if call is None:
                continue  # it was taken out when it had its last answer
            for text, answer, after in outside.outcomes(state, call, self._rules):
                given = (*answers, answer)
                still = (verb, given) if self._controllers.next_call(verb, given) is not None else None
                yield f"{name} {text}", _put(after, slot, still)
            if state.crashes:
                yield f"{name} is killed", _put(state, slot, None)._replace(crashes=state.crashes - 1)

    def _started(self, state: State, slot: int, others: bool) -> Iterator[Event]:
        for verb in dict.fromkeys(state.runs):
            left = list(state.runs)
            left.remove(verb)
            yield f"controller {slot} ({verb}) starts", _put(state, slot, (verb, ()))._replace(runs=tuple(left))
        if not others and not settled(state):
            yield f"controller {slot} (recover) starts", _put(state, slot, ("recover", ()))

    def _trace(self, at: int) -> list[str]:
        lines: list[str] = []
        while at >= 0:
            at, text = self._from[at]
            lines.append(text)
        return lines[::-1]

    def _backward(self) -> tuple[str | None, list[str]]:
        stuck = self._unreached(invariants.at_rest, lambda state: True)
        if stuck is not None:
            return "stuck: from here no state without a step under way can be reached", self._trace(stuck)
        if "rollback" in self._limits.runs:
            # Only where nothing more will go wrong: a rollback that was killed, or gave up, is not tried again here.
            stuck = self._unreached(invariants.went_back, lambda state: "rollback" in state.runs)
            if stuck is not None:
                return "no way back: from here no state can be reached in which legacy owns the writes", self._trace(
                    stuck
                )
        return None, []

    def _unreached(self, good: Callable[[State], bool], asked: Callable[[State], bool]) -> int | None:
        """The first state that is asked about and from which no good one can be reached."""
        reached = bytearray(len(self._states))
        todo = [number for number, state in enumerate(self._states) if good(state)]
        for number in todo:
            reached[number] = 1
        while todo:
            for before in self._before[todo.pop()]:
                if not reached[before]:
                    reached[before] = 1
                    todo.append(before)
        return next((n for n, state in enumerate(self._states) if not reached[n] and asked(state)), None)


def _put(state: State, slot: int, controller: tuple[str, tuple[object, ...]] | None) -> State:
    controllers = list(state.controllers)
    controllers[slot] = controller
    return state._replace(controllers=tuple(controllers))


def explore(
    limits: Limits, rules: Rules = Rules(), controllers: Controllers | None = None, most: int = 3_000_000
) -> Found:
    """Raises: TooMany."""
    return _Search(limits, rules, controllers or Controllers(), most).run()
