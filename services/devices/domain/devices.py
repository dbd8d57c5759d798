"""A home battery, what it should do and what it reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Device:
    """`state` new, active (it has acknowledged something) or retired."""

    id: int
    serial: str
    customer_id: int
    model: str
    capacity_wh: int
    max_power_w: int
    state: str
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class Slot:
    """What to do from `since` until before `until`, minutes of the local day; `mode` charge, discharge or hold."""

    since: int
    until: int
    mode: str
    power_w: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """`version` grows with each change; 0 and no slots for a device that never had one."""

    version: int = 0
    slots: tuple[Slot, ...] = ()
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """An order that goes before the schedule until it expires.

    `epoch` is the assignment's when it was written; None, like `correlation_id`, for one that the monolith wrote.
    """

    ref: str
    mode: str
    power_w: int
    issued_at: datetime
    expires_at: datetime
    epoch: int | None = None
    correlation_id: UUID | None = None
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A device says what became of the schedule or command `ref`: delivered, succeeded, failed, rejected or expired."""

    ref: str
    state: str
    observed_at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """A report that is kept."""

    id: int
    device_id: int
    ref: str
    state: str
    note: str
    observed_at: datetime
    received_at: datetime


def command_states(reports: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What new reports (ref, state) make of the commands: any word says it was sent, unless it says it expired."""
    states: dict[str, str] = {}
    for ref, state in reports:
        if state == "expired" or states.get(ref) != "expired":
            states[ref] = "expired" if state == "expired" else "sent"
    return states
