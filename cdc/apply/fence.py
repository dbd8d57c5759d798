"""A fence marker has come through: recorded, and told to who waits for it (with the commit)."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg
import structlog

from cdc.change import FENCE, Change, lsn_text

log = structlog.get_logger("cdc.apply")

RECORD = (
    "INSERT INTO banyan.fence_applied (stream, domain, wave, epoch, lsn) VALUES (%s, %s, %s, %s, %s)"
    " ON CONFLICT DO NOTHING"
)
TELL = "SELECT pg_notify('banyan_fence', %s)"


def fence(connection: psycopg.Connection[Any], stream: str, change: Change, lsn: int) -> list[bytes]:
    """The statements; none for a marker that is not understood."""
    assert change.message is not None
    try:
        marker = msgspec.json.decode(change.message.content)
        domain, wave, epoch = str(marker["domain"]), int(marker["wave"]), int(marker["epoch"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as e:
        log.warning("fence marker is not understood", prefix=FENCE, error=str(e))
        return []
    cursor = psycopg.ClientCursor(connection)
    return [
        cursor.mogrify(RECORD, [stream, domain, wave, epoch, lsn_text(lsn)]).encode(),
        cursor.mogrify(TELL, [f"{stream} {domain} {wave} {epoch}"]).encode(),
    ]
