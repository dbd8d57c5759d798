"""The outbox: a message is written in the transaction of what it tells, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.messages.tables import OUTBOX

_ROW = (OUTBOX.c.id, OUTBOX.c.message_id, OUTBOX.c.topic, OUTBOX.c.payload, OUTBOX.c.attempts)


@dataclass(frozen=True, slots=True)
class Message:
    """`attempts` counts the deliveries that failed."""

    id: int
    message_id: UUID
    topic: str
    payload: dict[str, Any]
    attempts: int


async def put(connection: AsyncConnection, topic: str, payload: dict[str, Any]) -> Message:
    """Add a message to the caller's transaction."""
    statement = sa.insert(OUTBOX).values(topic=topic, payload=payload).returning(*_ROW)
    return Message(*(await connection.execute(statement)).one())


async def put_once(connection: AsyncConnection, topic: str, payload: dict[str, Any], message_id: UUID) -> bool:
    """Add a message unless there is one with this id: what several processes find at once is told once."""
    statement = insert(OUTBOX).values(topic=topic, payload=payload, message_id=message_id)
    statement = statement.on_conflict_do_nothing(index_elements=["message_id"])
    return (await connection.execute(statement.returning(OUTBOX.c.id))).one_or_none() is not None


async def claim(connection: AsyncConnection) -> Message | None:
    """The next message that waits and that no other process holds; locked until the transaction ends."""
    statement = (
        sa.select(*_ROW)
        .where(OUTBOX.c.done_at.is_(None), OUTBOX.c.available_at <= sa.func.now())
        .order_by(OUTBOX.c.available_at, OUTBOX.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Message(*row)


async def mark_done(connection: AsyncConnection, message: Message, error: str | None = None) -> None:
    """Delivered; or given up, when there is an error."""
    await connection.execute(
        sa.update(OUTBOX).where(OUTBOX.c.id == message.id).values(done_at=sa.func.clock_timestamp(), error=error)
    )


async def mark_failed(connection: AsyncConnection, message: Message, error: str, again_in: timedelta) -> None:
    """Not delivered: it waits for its next attempt."""
    await connection.execute(
        sa.update(OUTBOX)
        .where(OUTBOX.c.id == message.id)
        .values(attempts=message.attempts + 1, available_at=sa.func.clock_timestamp() + again_in, error=error[:500])
    )
