"""The monolith's words for notifications and ours. Pure, both ways."""

from __future__ import annotations

from datetime import time
from typing import Any

from services.chassis.facade.codes import Codes
from services.chassis.localtime import local_text
from services.notifications.domain.messages import Message, Preferences

CHANNELS = Codes({"E": "email", "S": "sms", "P": "push"})
STATES = Codes({"Q": "queued", "S": "sent", "F": "failed"})


def message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "customer_id": message.customer_id,
        "channel": CHANNELS.letter(message.channel),
        "recipient": message.recipient,
        "subject": message.subject,
        "body": message.body,
        "status": STATES.letter(message.state),
        "error": message.error,
        "created": local_text(message.created_at),
        "sent": None if message.sent_at is None else local_text(message.sent_at),
    }


def preferences(customer_id: int, wanted: Preferences) -> dict[str, Any]:
    return {
        "customer_id": customer_id,
        "email": letter(wanted.email),
        "sms": letter(wanted.sms),
        "push": letter(wanted.push),
        "quiet_from": clock(wanted.quiet_from),
        "quiet_to": clock(wanted.quiet_to),
    }


def letter(flag: bool) -> str:
    return "Y" if flag else "N"


def clock(value: time | None) -> str | None:
    return None if value is None else value.strftime("%H:%M")


def parse_clock(text: str | None) -> time | None:
    return None if text is None else time.fromisoformat(text)
