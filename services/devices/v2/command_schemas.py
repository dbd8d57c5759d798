"""Bodies of commands (docs/fleet.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from services.devices.domain.commands import State
from services.devices.v2.schemas import Mode

Seconds = Annotated[int, Meta(ge=1, le=86_400)]


class NewCommand(Struct, forbid_unknown_fields=True):
    """`hold` has a power of 0 W. The same `idempotency_key` again is the same command."""

    mode: Mode
    power_w: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    duration_s: Seconds
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")] | None = None


class Replay(Struct, forbid_unknown_fields=True):
    """Without `duration_s` it lasts as long as the first time."""

    duration_s: Seconds | None = None


class Accepted(Struct):
    correlation_id: UUID
    ref: str
    device_id: int
    state: State
    assignment_epoch: int
    expires_at: datetime


class Step(Struct):
    state: State
    at: datetime
    observed_at: datetime | None
    note: str


class Command(Struct):
    correlation_id: UUID
    ref: str
    device_id: int
    issuer: Literal["api", "market", "pulse"]
    state: State
    assignment_epoch: int
    mode: Mode
    power_w: int
    issued_at: datetime
    expires_at: datetime
    supersedes: str | None
    replay_of: UUID | None
    note: str
    history: list[Step]


class Commands(Struct):
    items: list[Command]
    next_cursor: str | None
