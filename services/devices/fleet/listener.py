"""One connection a process on which the database says whose documents and tokens have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import structlog

log = structlog.get_logger()

DOCUMENTS, TOKENS = "device_documents", "device_tokens"
#: Seconds of silence after which the connection is tried, and how long it may take to answer.
SILENCE, PATIENCE = 20.0, 5.0
_LONGEST_PAUSE = 10.0


class Listener:
    """`changed` and `shut_out` get ids of devices; `missed` is called whenever something may have been missed."""

    def __init__(
        self,
        dsn: str,
        changed: Callable[[list[int]], None],
        shut_out: Callable[[int], None],
        missed: Callable[[], None],
    ) -> None:
        self._dsn, self._changed, self._shut_out, self._missed = dsn, changed, shut_out, missed
        self.is_up = asyncio.Event()

    async def run(self) -> None:
        """For ever; while the database is away it asks less and less often."""
        pause = 0.1
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning(
                    "the database does not tell of changes", error=str(error).splitlines()[0] if str(error) else ""
                )
                pause = min(_LONGEST_PAUSE, pause * 2) if not self.is_up.is_set() else 0.1
            finally:
                self.is_up.clear()
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=3, application_name="devices listener"
        )
        async with connection:
            await connection.execute(f"LISTEN {DOCUMENTS}")
            await connection.execute(f"LISTEN {TOKENS}")
            self.is_up.set()
            self._missed()
            while True:
                async for notice in connection.notifies(timeout=SILENCE):
                    self._take(notice)
                async with asyncio.timeout(PATIENCE):
                    await connection.execute("SELECT 1")

    def _take(self, notice: psycopg.Notify) -> None:
        ids = [int(part) for part in notice.payload.split(",") if part.isdecimal()]
        if notice.channel == TOKENS:
            for id_ in ids:
                self._shut_out(id_)
        else:
            self._changed(ids)
