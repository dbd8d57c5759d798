"""Messages: written before they are sent, so that nothing is sent that may not be written here."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifications.domain.messages import Message
from services.notifications.store.tables import MESSAGES

_COLUMNS = (
    MESSAGES.c.id, MESSAGES.c.customer_id, MESSAGES.c.channel, MESSAGES.c.recipient, MESSAGES.c.subject,
    MESSAGES.c.body, MESSAGES.c.state, MESSAGES.c.error, MESSAGES.c.created_at, MESSAGES.c.sent_at,
)  # fmt: skip


async def add(
    connection: AsyncConnection, *, customer_id: int, channel: str, recipient: str, subject: str, body: str
) -> Message:
    statement = sa.insert(MESSAGES).values(
        customer_id=customer_id, channel=channel, recipient=recipient, subject=subject, body=body, state="queued"
    )
    return Message(**(await connection.execute(statement.returning(*_COLUMNS))).one()._asdict())


async def get(connection: AsyncConnection, message_id: int) -> Message:
    return Message(
        **(await connection.execute(sa.select(*_COLUMNS).where(MESSAGES.c.id == message_id))).one()._asdict()
    )


async def mark_sent(connection: AsyncConnection, message_id: int) -> Message | None:
    """None when there is no such message, or when it was sent before."""
    values: dict[str, object] = {"state": "sent", "error": None, "sent_at": sa.func.clock_timestamp()}
    return await _mark(connection, message_id, values)


async def mark_failed(connection: AsyncConnection, message_id: int, error: str) -> Message | None:
    return await _mark(connection, message_id, {"state": "failed", "error": error})


async def _mark(connection: AsyncConnection, message_id: int, values: dict[str, object]) -> Message | None:
    unsent = sa.and_(MESSAGES.c.id == message_id, MESSAGES.c.state != "sent")
    statement = sa.update(MESSAGES).where(unsent).values(**values).returning(*_COLUMNS)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Message(**row._asdict())


async def page(connection: AsyncConnection, customer_id: int | None, after: int, limit: int) -> list[Message]:
    """At most `limit` messages with an id above `after`, of one customer or of all."""
    statement = sa.select(*_COLUMNS).where(MESSAGES.c.id > after).order_by(MESSAGES.c.id).limit(limit)
    if customer_id is not None:
        statement = statement.where(MESSAGES.c.customer_id == customer_id)
    return [Message(**row._asdict()) for row in await connection.execute(statement)]


async def queued_after(connection: AsyncConnection, after: int) -> Message | None:
    """The next message that waits for the end of quiet hours and that no other process holds; locked."""
    statement = sa.select(*_COLUMNS).where(MESSAGES.c.state == "queued", MESSAGES.c.id > after)
    row = (
        await connection.execute(statement.order_by(MESSAGES.c.id).limit(1).with_for_update(skip_locked=True))
    ).one_or_none()
    return None if row is None else Message(**row._asdict())
