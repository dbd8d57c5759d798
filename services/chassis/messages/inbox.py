"""The inbox: a consumer handles a message once, however often it arrives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.messages.outbox import Message
from services.chassis.messages.tables import INBOX


@dataclass(frozen=True, slots=True)
class Consumer:
    """`handle` works in the transaction that notes the message as received; it raises when it must be tried again."""

    name: str
    topic: str
    handle: Callable[[AsyncConnection, Message], Awaitable[None]]


async def receive(connection: AsyncConnection, consumer: Consumer, message: Message) -> bool:
    """Let `consumer` handle `message` unless it has; True when it did now."""
    note = (
        insert(INBOX)
        .values(consumer=consumer.name, message_id=message.message_id)
        .on_conflict_do_nothing()
        .returning(INBOX.c.message_id)
    )
    if (await connection.execute(note)).one_or_none() is None:
        return False
    await consumer.handle(connection, message)
    return True
