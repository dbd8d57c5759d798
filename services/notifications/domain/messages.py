"""A message to a customer, and what the customer wants to receive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time


@dataclass(frozen=True, slots=True)
class Message:
    """`channel` email, sms or push; `state` queued (quiet hours), sent or failed."""

    id: int
    customer_id: int
    channel: str
    recipient: str
    subject: str
    body: str
    state: str
    error: str | None
    created_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Preferences:
    """Quiet hours are local, both or neither, and go over midnight when they end earlier than they begin."""

    email: bool = True
    sms: bool = False
    push: bool = False
    quiet_from: time | None = None
    quiet_to: time | None = None

    def allows(self, channel: str) -> bool:
        return {"email": self.email, "sms": self.sms, "push": self.push}[channel]

    def is_quiet(self, local: datetime) -> bool:
        if self.quiet_from is None or self.quiet_to is None:
            return False
        minute = local.time().replace(second=0, microsecond=0)
        if self.quiet_from < self.quiet_to:
            return self.quiet_from <= minute < self.quiet_to
        return minute >= self.quiet_from or minute < self.quiet_to


def is_quiet_period(start: time | None, end: time | None) -> bool:
    """True for two different times, or none at all."""
    return (start is None and end is None) or (start is not None and end is not None and start != end)
