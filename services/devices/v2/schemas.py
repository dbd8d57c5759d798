"""What the v2 API takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct, field

from services.chassis.fields import Id, Instant
from services.devices.domain.conflicts import MOST_SLOTS
from services.devices.domain.documents import FALLBACK_AFTER_S

Mode = Literal["charge", "discharge", "hold"]


class Slot(Struct):
    """Local wall clock, half-open; 24:00 is the end of the day."""

    since: str = field(name="from")
    until: str = field(name="to")
    mode: Mode = field()
    power_w: int = field()


class Command(Struct):
    """Goes before the schedule until it expires. `correlation_id` null: the monolith wrote it."""

    ref: str
    correlation_id: UUID | None
    assignment_epoch: int
    mode: Mode
    power_w: int
    issued_at: datetime
    expires_at: datetime
    supersedes: str | None = None


class Fallback(Struct):
    """What to do when the service was not reached for `after_s`; version 0 and no slots: hold."""

    version: int
    after_s: int
    slots: list[Slot]


class Schedule(Struct):
    """`version` 0 and no slots for a device that never had a schedule."""

    device_id: int
    version: int
    assignment_epoch: int
    slots: list[Slot]
    fallback: Fallback
    commands: list[Command]


class NewSlot(Struct, forbid_unknown_fields=True):
    """Times that cannot be read are told as conflicts, like all else that is wrong with a schedule."""

    since: Annotated[str, Meta(max_length=10)] = field(name="from")
    until: Annotated[str, Meta(max_length=10)] = field(name="to")
    mode: Mode = field()
    power_w: Annotated[int, Meta(ge=0, le=2**31 - 1)] = field()


NewSlots = Annotated[list[NewSlot], Meta(max_length=MOST_SLOTS)]


class NewSchedule(Struct, forbid_unknown_fields=True):
    """`accept`: conflicts that are meant. A fallback that is left out stays what it is."""

    slots: NewSlots
    fallback: NewSlots | None = None
    fallback_after_s: Annotated[int, Meta(ge=60, le=366 * 86_400)] = FALLBACK_AFTER_S
    accept: list[Literal["soc"]] = []


class NewSchedules(Struct, forbid_unknown_fields=True):
    """One schedule for many devices."""

    device_ids: Annotated[list[Id], Meta(min_length=1, max_length=10_000)]
    slots: NewSlots
    accept: list[Literal["soc"]] = []


class Conflict(Struct):
    """`slot` counts from 0."""

    slot: int
    of: Literal["slots", "fallback"]
    kind: Literal["time", "order", "overlap", "power", "soc", "dst"]
    detail: str


class Published(Struct):
    version: int
    fallback_version: int
    warnings: list[Conflict]


class PublishedMany(Struct):
    changed: int
    unchanged: int


class FormerSchedule(Struct):
    version: int
    slots: list[Slot]
    created_at: datetime


class FormerSchedules(Struct):
    items: list[FormerSchedule]
    next_cursor: str | None


class NewAck(Struct, forbid_unknown_fields=True):
    ref: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
    state: Literal["delivered", "succeeded", "failed", "rejected", "expired"]
    observed_at: Instant
    note: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    assignment_epoch: Annotated[int, Meta(ge=0)] | None = None


class AckBatch(Struct, forbid_unknown_fields=True):
    acks: Annotated[list[NewAck], Meta(min_length=1, max_length=500)]


class Received(Struct):
    """`stale`: those of the accepted whose command is of an older epoch, so that it does not follow them."""

    accepted: int
    duplicates: int
    stale: int
