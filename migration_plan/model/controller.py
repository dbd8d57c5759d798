"""A controller of the model: the real verb (`recover`, then `Switch`), stopped at each call that reaches outside.

What a process does next follows from the answers that it has had. So it is run from its beginning with those answers,
until it asks for one more; a process that was killed simply does not go on. Nothing of the switch is written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from migration_plan.errors import PlanError, Unreachable
from migration_plan.journey import SERVICE, Stand
from migration_plan.plan import Budgets, Side
from migration_plan.switch import Switch, recover
from migration_plan.switch.ports import CatchUpTimeout, EpochMoved, Fenced, FenceTimeout, Note, Owned, Ports

AT_50 = Stand("canary", 50)
#: A call to the outside: its name, then its arguments.
Call = tuple[Any, ...]
#: `("=", value)`, or `("!", name of what is raised)`.
Answer = tuple[str, Any]
RAISED: dict[str, Callable[[str], BaseException]] = {
    "Unreachable": Unreachable,
    "EpochMoved": EpochMoved,
    "FenceTimeout": FenceTimeout,
    "CatchUpTimeout": CatchUpTimeout,
}


class _Asks(BaseException):
    """The process waits for an answer that it has not had."""

    def __init__(self, call: Call) -> None:
        self.call = call


class Replay:
    """Hands out the answers in order, then stops the process."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers: Iterator[Answer] = iter(answers)

    def ask(self, *call: Any) -> Any:
        answer = next(self._answers, None)
        if answer is None:
            raise _Asks(call)
        kind, value = answer
        if kind == "!":
            raise RAISED[value](value)
        return value


class OwnershipTable:
    def __init__(self, replay: Replay, side: Side) -> None:
        self._replay, self._side = replay, side

    def read(self) -> Owned:
        return Owned(*self._replay.ask("read", self._side))

    def fence(self, expected_epoch: int) -> Fenced:
        return Fenced(self._replay.ask("fence", self._side, expected_epoch), "0/0")

    def set_owner(self, owner: Side, expected_epoch: int, new_epoch: int, *, answer_s: float | None = None) -> None:
        self._replay.ask("set", self._side, owner, expected_epoch, new_epoch)


class Stream:
    def __init__(self, replay: Replay, source: Side) -> None:
        self._replay, self._source = replay, source

    def wait_fence(self, fenced: Fenced, timeout_s: float) -> None:
        self._replay.ask("wait", self._source, fenced.epoch)

    def check_parked(self) -> dict[str, Any]:
        return {}

    def check_sequences(self) -> dict[str, Any]:
        return {}


class Routes:
    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def hold(self) -> bool:
        return bool(self._replay.ask("hold"))

    def publish(self, owned: Owned, stand: Stand) -> dict[str, Any]:
        self._replay.ask("publish", owned.owner, owned.epoch)
        return {}


class Aside:
    """Ledger, looks and clock: the databases are the truth (resolve.py), so nothing of these decides who may write."""

    def write(self, notes: Sequence[Note], stand: Stand | None = None, owned: Owned | None = None) -> None: ...

    def preflight(self) -> dict[str, Any]:
        return {}

    def verify(self) -> dict[str, Any]:
        return {}

    def now(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None: ...


def ports_of(replay: Replay, source: Side) -> Ports:
    tables = OwnershipTable(replay, "legacy"), OwnershipTable(replay, "service")
    return Ports(*tables, Stream(replay, source), Routes(replay), Aside(), Aside())


#: Runs the verb on a replay; ends, or raises what its answers make it raise.
Verb = Callable[[Replay, str, type[Switch]], None]


def run(replay: Replay, verb: str, switch: type[Switch]) -> None:
    """migration_plan/verbs/step.py `_step`: end what was left half done, then take the step."""
    recovered = recover(ports_of(replay, "legacy"), None, (AT_50, SERVICE))
    goal: Side = "service" if verb == "switch" else "legacy"
    if verb == "recover" or recovered.owner == goal:
        return
    before, after = (AT_50, SERVICE) if goal == "service" else (SERVICE, AT_50)
    budgets = Budgets(fence_attempts=2)
    switch(ports_of(replay, recovered.owner), recovered.owner, before, after, budgets, Aside()).run()


class Controllers:
    """Remembers what a verb with these answers asks next; None: it has ended, well or not."""

    def __init__(self, switch: type[Switch] = Switch, verb: Verb = run) -> None:
        self._switch, self._verb = switch, verb
        self._known: dict[tuple[str, tuple[Answer, ...]], Call | None] = {}

    def next_call(self, verb: str, answers: tuple[Answer, ...]) -> Call | None:
        key = verb, answers
        if key not in self._known:
            self._known[key] = self._find(verb, answers)
        return self._known[key]

    def _find(self, verb: str, answers: tuple[Answer, ...]) -> Call | None:
        try:
            self._verb(Replay(answers), verb, self._switch)
        except _Asks as asked:
            return asked.call
        except (PlanError, EpochMoved, FenceTimeout, CatchUpTimeout):  # the last three: of a mutant that catches less
            return None
        return None
