"""What the v2 API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from services.chassis.fields import Instant

Mode = Literal["charge", "discharge", "hold"]


class Slot(Struct):
    """Local wall clock, half-open; 24:00 is the end of the day."""

    since: str = field(name="from")
    until: str = field(name="to")
    mode: Mode = field()
    power_w: int = field()


class Command(Struct):
    ref: str
    mode: Mode
    power_w: int
    issued_at: datetime
    expires_at: datetime


class Schedule(Struct):
    """`version` 0 and no slots for a device that never had a schedule."""

    device_id: int
    version: int
    slots: list[Slot]
    commands: list[Command]


class NewAck(Struct, forbid_unknown_fields=True):
    ref: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
    state: Literal["delivered", "succeeded", "failed", "expired"]
    observed_at: Instant
    note: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class AckBatch(Struct, forbid_unknown_fields=True):
    acks: Annotated[list[NewAck], Meta(min_length=1, max_length=500)]


class Received(Struct):
    accepted: int
    duplicates: int
