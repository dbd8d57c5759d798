"""The relay of the embedded stack: hands messages from the outbox straight to the inboxes of this process.

Retry state lives in the outbox row, so that a restart forgets nothing, and a broker could take this place.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from services.chassis.database import transaction
from services.chassis.messages.inbox import Consumer, receive
from services.chassis.messages.outbox import Message, claim, mark_done, mark_failed
from services.chassis.messages.tables import INBOX, OUTBOX
from services.chassis.metrics import Metrics

log = structlog.get_logger()

ATTEMPTS = 12
FIRST_SECONDS = 2.0
LONGEST_SECONDS = 3600.0
# Far longer than the last attempt: a message must not come back after its note in the inbox is gone.
FORGET_AFTER = timedelta(days=14)
FORGET_EVERY = 3600.0


def backoff(attempts: int, jitter: Callable[[], float] = random.random) -> timedelta:
    """How long to wait after failure number `attempts` + 1: doubling, capped, 50–100 % of it also at the cap."""
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2**attempts)
    return timedelta(seconds=longest * (0.5 + jitter() / 2))


class Relay:
    """Delivers waiting messages; several processes may run one over the same outbox."""

    def __init__(
        self,
        engine: AsyncEngine,
        consumers: Sequence[Consumer],
        metrics: Metrics,
        *,
        poll_seconds: float = 1.0,
        forget_after: timedelta = FORGET_AFTER,
    ) -> None:
        """`forget_after`: less than the default only where messages die by themselves, long before."""
        self._engine = engine
        self._consumers = consumers
        self._metrics = metrics
        self._poll = poll_seconds
        self._forget_after = forget_after
        self._forget_at = 0.0

    async def attempt(self, connection: AsyncConnection, message: Message) -> Exception | None:
        """Deliver one message in the caller's transaction and note the outcome there; the error, if any.

        A consumer's failure undoes that consumer's work only (savepoint), and the message waits for the next attempt.
        """
        try:
            async with connection.begin_nested():
                for consumer in self._consumers:
                    if consumer.topic == message.topic:
                        await receive(connection, consumer, message)
        except Exception as error:
            reason = f"{type(error).__name__}: {getattr(error, 'orig', None) or error}"
            last = message.attempts + 1 >= ATTEMPTS
            log.warning(
                "delivery failed", topic=message.topic, message_id=str(message.message_id), error=reason, last=last
            )
            self._metrics.message(message.topic, "given_up" if last else "failed")
            if last:
                await mark_done(connection, message, reason)
            else:
                await mark_failed(connection, message, reason, backoff(message.attempts))
            return error
        await mark_done(connection, message)
        self._metrics.message(message.topic, "delivered")
        return None

    async def drain(self) -> int:
        """Deliver until nothing is due; how many were tried."""
        tried = 0
        while True:
            async with transaction(self._engine) as connection:
                message = await claim(connection)
                if message is None:
                    return tried
                await self.attempt(connection, message)
            tried += 1

    async def forget(self, age: timedelta) -> None:
        """Drop what was delivered more than `age` ago, so that both tables stay small."""
        before = sa.func.now() - age
        async with transaction(self._engine) as connection:
            await connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.done_at < before))
            await connection.execute(sa.delete(INBOX).where(INBOX.c.received_at < before))

    async def _turn(self) -> None:
        await self.drain()
        if (now := time.monotonic()) >= self._forget_at:
            self._forget_at = now + FORGET_EVERY
            await self.forget(self._forget_after)

    async def run(self) -> None:
        """Poll for ever. While the database is away it asks less and less often, up to every 30 s."""
        patience = AsyncRetrying(
            retry=retry_if_exception_type((SQLAlchemyError, OSError)),
            wait=wait_random_exponential(multiplier=0.5, max=30),
        )
        while True:
            await patience(self._turn)
            await asyncio.sleep(self._poll)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run in the background of the block."""
        task = asyncio.create_task(self.run(), name="outbox relay")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
