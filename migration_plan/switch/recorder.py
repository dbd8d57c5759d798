"""Journals each step before and after it, and times it. One write ends a step and begins the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from migration_plan.errors import Unreachable
from migration_plan.journey import Stand
from migration_plan.switch.ports import Journal, Note, Owned
from migration_plan.switch.steps import Step

T = TypeVar("T")

#: Called with a step's name and "before" or "after", for tests that let the process die there.
Hook = Callable[[str, str], None]


class Clock(Protocol):
    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None: ...


def nobody_dies(step: str, when: str) -> None:
    """The hook of production."""


class Recorder:
    """Keeps the figures of one switch. `missing` is set when rows past the point of no return could not be written."""

    def __init__(self, journal: Journal, clock: Clock, hook: Hook) -> None:
        self.step_ms: dict[str, float] = {}
        self.missing: Unreachable | None = None
        self._journal, self._clock, self._hook = journal, clock, hook
        self._waiting: list[Note] = []

    def step(
        self, step: Step, action: Callable[[], T], *, detail: dict[str, Any] | None = None, forward: bool = False
    ) -> T:
        """Run one step. `forward`: its work must go on even if the ledger is away."""
        self.write(Note(step.name, "begin", measured=detail or {}), forward=forward)
        self._hook(step.name, "before")
        started = self._clock.now()
        result = action()
        self.step_ms[step.name] = round((self._clock.now() - started) * 1000, 3)
        figures = result if isinstance(result, dict) else {}
        self._waiting.append(Note(step.name, "done", measured={"ms": self.step_ms[step.name], **figures}))
        self._hook(step.name, "after")
        return result

    def later(self, note: Note) -> None:
        """Write `note` together with the next one."""
        self._waiting.append(note)

    def write(
        self, *notes: Note, stand: Stand | None = None, owned: Owned | None = None, forward: bool = False
    ) -> None:
        """Everything that waits, then `notes`. Raises: Unreachable, unless `forward`."""
        self._waiting.extend(notes)
        try:
            self._journal.write(self._waiting, stand, owned)
        except Unreachable as error:
            if not forward:
                self._waiting.clear()  # a journal that is away now must not hide what is done about it
                raise
            self.missing = error
        else:
            self._waiting = []
