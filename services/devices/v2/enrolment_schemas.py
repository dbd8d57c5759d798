"""Bodies of enrolment (docs/fleet.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from services.devices.v2.schemas import Mode

Line = r"^[^\x00-\x1f\x7f]*$"


class NewClaim(Struct, forbid_unknown_fields=True):
    expires_in_s: Annotated[int, Meta(ge=60, le=30 * 86_400)] = 86_400


class Claim(Struct):
    """`code` is shown this once."""

    claim_id: int
    code: str
    expires_at: datetime


class Pulse(Struct):
    """A command that shows that the battery obeys; acked `succeeded`, the device is live."""

    ref: str
    mode: Mode
    power_w: int
    expires_at: datetime


class NewEnrolment(Struct, forbid_unknown_fields=True):
    code: Annotated[str, Meta(min_length=1, max_length=40)]
    serial: Annotated[str, Meta(min_length=1, max_length=40, pattern=Line)]
    agent_version: Annotated[str, Meta(max_length=40, pattern=Line)] | None = None


class Enrolled(Struct):
    """`token` is shown this once."""

    device_id: int
    token: str
    state: Literal["claimed"]
    assignment_epoch: int
    max_power_w: int
    capacity_wh: int
    pulse: Pulse


class Enrolment(Struct):
    device_id: int
    state: Literal["claimed", "live", "revoked"]
    assignment_epoch: int
    claimed_at: datetime | None = None
    live_at: datetime | None = None
    revoked_at: datetime | None = None


class NewToken(Struct):
    """It takes over with its first use; then the one before is good for `overlap_s` more."""

    token: str
    overlap_s: int
