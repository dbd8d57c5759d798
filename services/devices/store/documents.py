"""Documents of many devices with one question, since thousands wait for one publication."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.assignment import Wave, epoch_of
from services.devices.domain.devices import Command
from services.devices.domain.documents import FALLBACK_AFTER_S, Document
from services.devices.store import assignments
from services.devices.store.schedules import MOST_COMMANDS

_SCHEDULES = sa.text("""
    SELECT i.id, s.version, CAST(s.slots AS text) AS slots,
           f.version AS fallback_version, f.after_s, CAST(f.slots AS text) AS fallback
    FROM unnest(CAST(:ids AS bigint[])) AS i (id)
    LEFT JOIN schedules AS s ON s.device_id = i.id
    LEFT JOIN fallbacks AS f ON f.device_id = i.id
""")
_COMMANDS = sa.text("""
    SELECT c.device_id, c.ref, c.mode, c.power_w, c.issued_at, c.expires_at,
           p.epoch, p.correlation_id, p.supersedes, coalesce(p.state, 'sent') = 'queued' AS unsent
    FROM unnest(CAST(:ids AS bigint[])) AS i (id)
    CROSS JOIN LATERAL (
        SELECT * FROM commands
         WHERE device_id = i.id AND expires_at > now() AND state <> 'expired' ORDER BY id LIMIT :most
    ) AS c
    LEFT JOIN command_progress AS p ON p.ref = c.ref
    ORDER BY c.id
""")


async def load(
    connection: AsyncConnection, ids: Sequence[int], waves: Sequence[Wave] | None = None
) -> dict[int, Document]:
    """The documents of these devices; one that is not known has an empty one."""
    waves = await assignments.waves(connection) if waves is None else waves
    values = {"ids": list(ids)}
    schedules = (await connection.execute(_SCHEDULES, values)).all()
    commands: dict[int, list[Any]] = {}
    for row in await connection.execute(_COMMANDS, {**values, "most": MOST_COMMANDS}):
        # Written before the device changed hands: it would refuse it, and so do we.
        if row.epoch is None or row.epoch >= epoch_of(waves, row.device_id):
            commands.setdefault(row.device_id, []).append(row)
    return {
        row.id: Document(
            row.id,
            row.version or 0,
            _json(row.slots),
            row.fallback_version or 0,
            row.after_s or FALLBACK_AFTER_S,
            _json(row.fallback),
            tuple(_command(each, epoch_of(waves, row.id)) for each in commands.get(row.id, ())),
            tuple(each.ref for each in commands.get(row.id, ()) if each.unsent),
            epoch_of(waves, row.id),
        )
        for row in schedules
    }


async def get(connection: AsyncConnection, device_id: int) -> Document:
    return (await load(connection, [device_id]))[device_id]


def _json(text: str | None) -> bytes:
    """A fleet mostly has few schedules: thousands of documents need not read and write them each."""
    return b"[]" if text is None else text.encode()


def _command(row: Any, epoch: int) -> Command:
    """The monolith writes none: its commands came with the device, and hold until they end."""
    issued: datetime = row.issued_at
    correlation: UUID | None = row.correlation_id
    return Command(
        row.ref,
        row.mode,
        row.power_w,
        issued,
        row.expires_at,
        epoch if row.epoch is None else row.epoch,
        correlation,
        row.supersedes,
    )
