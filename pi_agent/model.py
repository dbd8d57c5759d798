"""The values that the agent works with. Powers are watts, never negative: the mode says which way energy flows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Mode(Enum):
    CHARGE = "charge"
    DISCHARGE = "discharge"
    HOLD = "hold"

    @property
    def letter(self) -> str:
        return self.value[0].upper()

    @classmethod
    def read(cls, text: object) -> Mode:
        """From a contract's word or letter. Raises: ValueError."""
        for mode in cls:
            if text in (mode.value, mode.letter):
                return mode
        raise ValueError(f"unknown mode {text!r}: expected charge, discharge, hold or C, D, H")


class AckState(Enum):
    DELIVERED = "delivered"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Slot:
    """A part of the local day; minutes since midnight by the clock on the wall, half-open."""

    starts: int
    ends: int
    mode: Mode
    power_w: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the battery does by default; version 0 means that there is none yet.

    `fallback` takes its place when the backend was not heard of for `fallback_after_s`; None: the agent's own.
    """

    version: int = 0
    slots: tuple[Slot, ...] = ()
    fallback: tuple[Slot, ...] | None = None
    fallback_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """An override until `expires_at` (an aware instant); `supersedes`: the ref of one that ends with this."""

    ref: str
    mode: Mode
    power_w: int
    issued_at: datetime
    expires_at: datetime
    epoch: int | None = None
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One answer of a backend: the schedule and the commands that have not expired.

    `epoch` counts the changes of who may command this battery; a contract without it says None. `complete`: a command
    that is not there any more, and was not begun, was taken back.
    """

    schedule: Schedule
    commands: tuple[Command, ...] = ()
    etag: str | None = None
    epoch: int | None = None
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Ack:
    """What became of a command or of a slot; unique by (ref, state)."""

    ref: str
    state: AckState
    observed_at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Setpoint:
    """What the battery shall do now, and for which command or slot."""

    mode: Mode
    power_w: int
    ref: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the battery says of itself; `power_w` > 0 charges.

    `ref`: of the last setpoint that it took; "" where the hardware cannot keep it. `celsius`: None without a probe.
    """

    soc: float
    power_w: float
    ref: str = ""
    celsius: float | None = None
