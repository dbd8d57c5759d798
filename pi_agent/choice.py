"""Which backend to talk to: the flag's, unless the new one proved unusable. Pure; the caller keeps the state."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pi_agent.backoff import Backoff, Uniform
from pi_agent.flags import LEGACY, V2


@dataclass(frozen=True, slots=True)
class Choice:
    """`retry_at`: when v2 may be tried again (monotonic seconds), None while it is in use or was never left."""

    flag: str = LEGACY
    errors: int = 0
    falls: int = 0
    retry_at: float | None = None

    def backend(self, monotonic: float) -> str:
        if self.flag != V2:
            return LEGACY
        if self.retry_at is not None and monotonic < self.retry_at:
            return LEGACY
        return V2


@dataclass(frozen=True, slots=True)
class ChoicePolicy:
    """Leave v2 after `max_errors` errors in a row; come back after a backoff that grows with each fall."""

    max_errors: int
    retreat: Backoff

    def with_flag(self, choice: Choice, flag: str) -> Choice:
        """A changed flag wipes the record: whoever changed it wants it tried now."""
        return choice if flag == choice.flag else Choice(flag=flag)

    def succeeded(self, choice: Choice, backend: str) -> Choice:
        return Choice(flag=choice.flag) if backend == V2 else choice

    def failed(self, choice: Choice, backend: str, monotonic: float, uniform: Uniform) -> Choice:
        """After a fall one error is enough to fall again: the try after a retreat is a probe."""
        if backend != V2:
            return choice
        errors = choice.errors + 1
        if errors < self.max_errors and choice.falls == 0:
            return replace(choice, errors=errors)
        pause = self.retreat.base_s + self.retreat.delay(choice.falls, uniform)
        return replace(choice, errors=0, falls=choice.falls + 1, retry_at=monotonic + pause)
