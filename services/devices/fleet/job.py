"""What runs in the background of each process of the service for its fleet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from redis.asyncio import Redis

from services.chassis.auth import DeviceLookup
from services.devices.fleet.ending import at_the_first_sign_of_the_end
from services.devices.fleet.given import Given
from services.devices.fleet.listener import Listener
from services.devices.fleet.longpoll import LongPoll
from services.devices.fleet.presence import PresenceJob
from services.devices.fleet.settings import FleetSettings
from services.devices.fleet.signing import Signer
from services.devices.fleet.sweeping import Sweeping
from services.devices.fleet.tokens import Tokens
from services.devices.fleet.tries import Tries
from services.devices.fleet.waiting import Counts, Waiting
from services.devices.fleet.watching import Watching


class FleetJob:
    """Its parts, put together; they are found in the application's state."""

    def __init__(self, app: Litestar, settings: FleetSettings, look_up: DeviceLookup) -> None:
        state, engine = app.state, app.state.engine
        reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._redis = None if settings.redis_url is None else Redis.from_url(settings.redis_url)
        self._watching = state.watching = Watching(self._redis)
        self._given = state.given = Given(engine, self._watching)
        self._waiting = state.waiting = Waiting(
            reader, self._given, Counts(state.metrics.registry), most=settings.most_waiting
        )
        self._sweeping = state.sweeping = Sweeping(engine, self._watching)
        self._tokens = Tokens(reader, look_up)
        self._presence = state.presence = PresenceJob(engine, settings)
        state.authenticator.seen = self._presence.saw
        state.tries = Tries()
        state.signer = None if settings.ota_key is None else Signer.load(settings.ota_key)
        dsn = state.settings.database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._listener = state.listener = Listener(dsn, self._waiting.changed, self._shut_out, self._missed)
        app.asgi_handler = LongPoll(app.asgi_handler, self._waiting, self._tokens, self._presence.saw)

    def _shut_out(self, device_id: int) -> None:
        self._tokens.forget(device_id)
        self._waiting.end(device_id)

    def _missed(self) -> None:
        self._tokens.forget_all()
        self._waiting.look_at_all()

    @contextlib.asynccontextmanager
    async def running(self, _: State) -> AsyncIterator[None]:
        work: list[Coroutine[Any, Any, None]] = [
            self._given.run(),
            self._waiting.run(),
            self._tokens.run(),
            self._sweeping.run(),
            self._listener.run(),
            self._presence.run(),
            self._watching.listen(),
        ]
        tasks = [asyncio.create_task(each, name=f"fleet {each.__qualname__}") for each in work]
        try:
            with at_the_first_sign_of_the_end(self._waiting.close):
                yield
        finally:
            self._waiting.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                await self._given.note()
                await self._presence.note()
            if self._redis is not None:
                await self._redis.aclose()
