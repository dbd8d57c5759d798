"""Bodies of reports and fleet queries (docs/fleet.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from services.chassis.fields import Instant
from services.devices.v2.schemas import Mode

Following = Literal["schedule", "command", "fallback", "safe"]
Share = Annotated[float, Meta(ge=0, le=1)]
Line = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Word = Annotated[str, Meta(max_length=40, pattern=r"^[^\x00-\x1f\x7f]*$")]
Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Watts = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Sample(Struct, forbid_unknown_fields=True):
    """`power_w` > 0 charges."""

    observed_at: Instant
    power_w: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
    soc: Share | None = None
    mode: Mode | None = None


class Samples(Struct, forbid_unknown_fields=True):
    samples: Annotated[list[Sample], Meta(min_length=1, max_length=1000)]


class SamplesKept(Struct):
    accepted: int
    duplicates: int
    too_old: int


class Measured(Struct):
    items: list[Sample]


class NewReport(Struct, forbid_unknown_fields=True):
    observed_at: Instant
    schedule_version: Version
    mode: Mode
    power_w: Watts
    following: Following
    fallback_version: Version = 0
    soc: Share | None = None
    agent_version: Word = ""
    note: Line = ""
    backend: Literal["v2", "legacy"] = "v2"


class ReportKept(Struct):
    """`kept` false: a newer report was there. `clock_skew_ms`: our clock minus the device's."""

    kept: bool
    clock_skew_ms: int


class Desired(Struct):
    schedule_version: int
    fallback_version: int
    agent_version: str | None


class Report(Struct):
    observed_at: datetime
    received_at: datetime
    schedule_version: int
    fallback_version: int
    mode: Mode
    power_w: int
    soc: float | None
    following: Following
    backend: str
    agent_version: str
    note: str


class Connection(Struct):
    online: bool
    since: datetime
    last_seen_at: datetime
    via: str
    clock_skew_ms: int | None


class Twin(Struct):
    """`delta`: what is desired and not reported. `version` grows with each report."""

    device_id: int
    version: int
    assignment_epoch: int
    desired: Desired
    reported: Report | None
    delta: dict[str, Any]
    connection: Connection | None


class Member(Struct):
    device_id: int
    serial: str
    customer_id: int
    model: str
    capacity_wh: int
    max_power_w: int
    state: str
    enrolment: str
    online: bool
    last_seen_at: datetime | None
    soc: float | None
    mode: str | None
    power_w: int | None
    following: str | None
    schedule_version: int
    applied_version: int | None
    agent_version: str | None
    clock_skew_ms: int | None


class Fleet(Struct):
    items: list[Member]
    next_cursor: str | None


class Counts(Struct):
    devices: int
    online: int
    offline: int
    never_seen: int
    behind_schedule: int
    clock_skewed: int
    by_state: dict[str, int]
    by_model: dict[str, int]
    by_following: dict[str, int]


class ComingOrGoing(Struct):
    at: datetime
    online: bool
    reason: str


class Connections(Struct):
    items: list[ComingOrGoing]
    next_cursor: str | None


class LogEntry(Struct):
    received_at: datetime
    observed_at: datetime
    ref: str
    state: str
    note: str


class Log(Struct):
    items: list[LogEntry]
    next_cursor: str | None
