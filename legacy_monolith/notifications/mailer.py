"""Delivers one notice, there and then. Only e-mail has somewhere to go; the rest is written to the log."""

from __future__ import annotations

import logging
import smtplib
from email.message import EmailMessage
from urllib.parse import urlsplit

log = logging.getLogger("legacy")

SENDER = "noreply@retailer.example"

#: s; whoever asked for the notice waits for this, and so does whoever wants to lock its table.
TIMEOUT = 5


def deliver(smtp_url: str | None, channel: str, recipient: str, subject: str, body: str) -> str | None:
    """Send; returns None, or why it could not be sent."""
    if channel != "E" or smtp_url is None:
        log.info("notification", extra={"fields": {"channel": channel, "subject": subject}})
        return None
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, recipient, subject
    message.set_content(body)
    server = urlsplit(smtp_url)
    try:
        with smtplib.SMTP(server.hostname or "localhost", server.port or 25, timeout=TIMEOUT) as smtp:
            smtp.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    return None
