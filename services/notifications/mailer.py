"""Delivers one message, there and then. Only e-mail has somewhere to go; the rest is written to the log."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from urllib.parse import urlsplit

import structlog

from services.notifications.domain.messages import Message

log = structlog.get_logger()

SENDER = "noreply@retailer.example"
#: s; whoever asked for the message waits for this, and so does whoever wants to lock its table.
TIMEOUT = 5
#: Deliveries at a time, each in a thread: fewer than the connections, so that a slow server cannot take them all.
AT_ONCE = 6

Deliver = Callable[[Message], Awaitable[None]]


class DeliveryFailed(Exception):
    """The server did not take it; the text is the monolith's."""


def over(smtp_url: str | None) -> Deliver:
    """Delivers over `smtp://host:port`; to the log without one."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def deliver(message: Message) -> None:
        """Raises: DeliveryFailed."""
        if message.channel != "email" or smtp_url is None:
            log.info("notification", channel=message.channel, subject=message.subject)
            return
        async with gate:
            await asyncio.to_thread(_send, smtp_url, message)

    return deliver


async def nowhere(_: Message) -> None:
    """What a dry run delivers with."""


def _send(smtp_url: str, message: Message) -> None:
    server = urlsplit(smtp_url)
    try:
        mail = compose(message)
        with smtplib.SMTP(server.hostname or "localhost", server.port or 25, timeout=TIMEOUT) as smtp:
            smtp.send_message(mail)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise DeliveryFailed(f"{type(error).__name__}: {error}".replace("\n", " ")[:200]) from error


def compose(message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = SENDER, message.recipient, message.subject
    mail.set_content(message.body)
    return mail
