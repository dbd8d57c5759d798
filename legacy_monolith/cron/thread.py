"""Runs the minute job inside a web process. Each worker has such a thread; a row of cron_run says whose turn it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Engine

from legacy_monolith.cron import job

log = logging.getLogger("legacy")


def until_next_minute() -> float:
    """Seconds."""
    return 60 - time.time() % 60


class Cron(threading.Thread):
    def __init__(self, engine: Engine, smtp_url: str | None, pause: Callable[[], float] = until_next_minute) -> None:
        super().__init__(name="cron", daemon=True)
        self._engine, self._smtp_url, self._pause = engine, smtp_url, pause
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(self._pause()):
            try:
                job.run(self._engine, self._smtp_url, datetime.now(UTC))
            except Exception as error:  # a bad minute must not end all that follow
                log.error("cron failed", exc_info=error)

    def stop(self) -> None:
        self._stop_asked.set()
