"""Sends a message once: now, again later when the server refuses it, or after the customer's quiet hours.

Each attempt happens in the transaction that notes its outcome. The row is written first: if this side may not write it
(the guard), nothing is sent from here, and while it is being sent, the wave cannot change hands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.chassis.database import problem_of, transaction
from services.chassis.errors import Misdirected
from services.chassis.localtime import to_local
from services.chassis.messages import Consumer, Relay, put
from services.chassis.messages import Message as Envelope
from services.chassis.metrics import Metrics
from services.notifications.domain.messages import Message
from services.notifications.mailer import Deliver, DeliveryFailed
from services.notifications.store import customers, messages

log = structlog.get_logger()

TOPIC = "message.to_send"
SWEEP_SECONDS = 5.0


class Sender:
    """The outbox hands a message to the inbox of the consumer `mailer`, at once or when it is due again."""

    def __init__(self, engine: AsyncEngine, metrics: Metrics, deliver: Deliver) -> None:
        self._engine = engine
        self._deliver = deliver
        self._relay = Relay(engine, [Consumer("mailer", TOPIC, self._send)], metrics)

    async def send_now(self, connection: AsyncConnection, message: Message) -> Message:
        """Try at once, in the caller's transaction. A failure is noted, and the outbox tries again later."""
        envelope = await put(connection, TOPIC, {"message": message.id})
        error = await self._relay.attempt(connection, envelope)
        if error is None:
            return await messages.get(connection, message.id)
        text = str(error) if isinstance(error, DeliveryFailed) else f"{type(error).__name__}: {error}"[:200]
        return await messages.mark_failed(connection, message.id, text) or message

    async def _send(self, connection: AsyncConnection, envelope: Envelope) -> None:
        message = await messages.mark_sent(connection, envelope.payload["message"])
        if message is not None:
            await self._deliver(message)

    async def sweep(self, now: datetime) -> int:
        """Send what waited for the end of quiet hours, also what the monolith left; how many were sent."""
        sent, after = 0, 0
        while True:
            async with transaction(self._engine) as connection:
                message = await messages.queued_after(connection, after)
                if message is None:
                    return sent
                after = message.id
                known = await customers.find(connection, message.customer_id)
                if known is None or not known[1].is_quiet(to_local(now)):
                    await self.send_now(connection, message)
                    sent += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Relay and sweep in the background of the block."""
        task = asyncio.create_task(self._sweep_for_ever(), name="sweep")
        try:
            async with self._relay.running():
                yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep(datetime.now(UTC))
            except (SQLAlchemyError, OSError) as error:
                # While the other side owns the domain, its queue is not ours to send.
                if not isinstance(problem_of(error), Misdirected):
                    log.warning("sweep failed", error=str(error).splitlines()[0])
            await asyncio.sleep(SWEEP_SECONDS)
