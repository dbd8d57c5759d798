"""Journals each step before and after it, and times it. One write ends a step and begins the next.

Inside the pause a write costs the clients its time, so of seven one is left: it comes after the fence, while the stream
carries the marker anyway, and begins all that leads to the point of no return. The other lines wait for the release.
Nobody resumes a switch by them: it is the databases that say how far it came (`resolve`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from migration_plan.errors import Unreachable
from migration_plan.journey import Stand
from migration_plan.switch.ports import Journal, Note, Owned
from migration_plan.switch.steps import HOLD, Step

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
        self._held_at: float | None = None

    def begin(self, *begun: Step, detail: dict[str, Any] | None = None, forward: bool = False) -> None:
        """Write that these steps begin: from here on each may have been taken. `forward`: as for `write`."""
        self._begun(*begun, detail=detail)
        self.write(forward=forward)

    def begin_later(self, *begun: Step) -> None:
        """The same, written together with what follows."""
        self._begun(*begun)

    def _begun(self, *begun: Step, detail: dict[str, Any] | None = None) -> None:
        if HOLD in begun:
            self._held_at = None
        at = {**(detail or {}), **self._since_hold()}
        self._waiting.extend(Note(step.name, "begin", measured=at) for step in begun)

    def step(self, step: Step, action: Callable[[], T]) -> T:
        """Run one step, which has begun. What the action raises passes."""
        self._hook(step.name, "before")
        started = self._clock.now()
        if step is HOLD:
            self._held_at = started
        result = action()
        self.step_ms[step.name] = round((self._clock.now() - started) * 1000, 3)
        figures = result if isinstance(result, dict) else {}
        measured = {"ms": self.step_ms[step.name], **self._since_hold(), **figures}
        self._waiting.append(Note(step.name, "done", measured=measured))
        self._hook(step.name, "after")
        return result

    def _since_hold(self) -> dict[str, Any]:
        """When it happened, for lines that are written later: milliseconds after the hold began."""
        return {} if self._held_at is None else {"at_ms": round((self._clock.now() - self._held_at) * 1000, 3)}

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
