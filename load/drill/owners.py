"""Looks at both databases' ownership all the time: both must never own the wave at one moment."""

from __future__ import annotations

import threading
import time

import psycopg

QUERY = "SELECT owner, epoch FROM banyan.ownership WHERE domain = %s AND wave = 0"
EVERY = 0.01


class Watch(threading.Thread):
    """`breaches`: each with what was read. Two databases cannot be read at one moment: legacy is read before and after.

    Where it says the same with the same epoch both times, it said so when the service was read in between.
    """

    def __init__(self, legacy: str, service: str, domain: str) -> None:
        super().__init__(name="owners", daemon=True)
        self._dsns, self._domain = (legacy, service), domain
        self._halt = threading.Event()
        self.breaches: list[str] = []
        self.looks = 0

    def run(self) -> None:
        while not self._halt.is_set():
            try:
                with (
                    psycopg.connect(self._dsns[0], autocommit=True, connect_timeout=2) as legacy,
                    psycopg.connect(self._dsns[1], autocommit=True, connect_timeout=2) as service,
                ):
                    while not self._halt.wait(EVERY):
                        self._look(legacy, service)
            except psycopg.Error:  # killed, or frozen: nothing is known meanwhile
                self._halt.wait(0.1)

    def end(self) -> None:
        self._halt.set()

    def _look(self, *connections: psycopg.Connection[tuple[object, ...]]) -> None:
        legacy, service = connections
        before = legacy.execute(QUERY, [self._domain]).fetchone()
        between = service.execute(QUERY, [self._domain]).fetchone()
        after = legacy.execute(QUERY, [self._domain]).fetchone()
        self.looks += 1
        if before is None or between is None or before != after:
            return
        if (before[0], between[0]) == ("legacy", "service") and len(self.breaches) < 20:
            self.breaches.append(f"{time.time():.3f}: legacy's says {before}, the service's says {between}")
