"""Sends the notices that waited for the end of a customer's quiet hours."""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from legacy_monolith import guard
from legacy_monolith.notifications import mailer
from legacy_monolith.notifications.preferences import Preferences

log = logging.getLogger("legacy")

_MOST = 200

_WAITING = text(f"""
    SELECT n.id, n.channel, n.recipient, n.subject, n.body, p.quiet_from, p.quiet_to
    FROM notification n LEFT JOIN notification_pref p ON p.customer_id = n.customer_id
    WHERE n.status = 'Q' ORDER BY n.id LIMIT {_MOST}
""")
_TAKE = text("UPDATE notification SET status = 'S', sent = :now WHERE id = :id AND status = 'Q' RETURNING id")
_FAILED = text("UPDATE notification SET status = 'F', sent = NULL, error = :error WHERE id = :id")


def send(engine: Engine, smtp_url: str | None, now: datetime) -> int:
    """How many left, at the local time `now`. The row is taken first: who may not write it does not send it."""
    sent = 0
    try:
        with engine.connect() as connection:
            waiting = connection.execute(_WAITING).all()
    except DBAPIError as error:
        if guard.retired(error, engine) is None:
            raise
        return 0  # a service sends them now, for good
    for row in waiting:
        if Preferences(quiet_from=row.quiet_from, quiet_to=row.quiet_to).is_quiet(now):
            continue
        try:
            with engine.begin() as connection:
                if connection.execute(_TAKE, {"id": row.id, "now": now}).scalar() is None:
                    continue
                if error := mailer.deliver(smtp_url, row.channel, row.recipient, row.subject, row.body):
                    connection.execute(_FAILED, {"id": row.id, "error": error})
                sent += 1
        except DBAPIError as error:
            refusal = guard.refusal(error)
            if refusal is None:
                raise
            log.info("cron", extra={"fields": {"job": "notifications", "owner": refusal.owner, "skipped": True}})
            break
    return sent
