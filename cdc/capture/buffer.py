"""The bounded hand-over between the capture thread and the apply thread: full means that reading pauses."""

from __future__ import annotations

import threading

from cdc.capture.raw import Captured

MAX_BYTES = 32 * 1024 * 1024
MAX_EVENTS = 50_000


class Buffer:
    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._changed = threading.Condition()
        self._events: list[Captured] = []
        self._bytes = 0
        self._max_events, self._max_bytes = max_events, max_bytes
        self._error: BaseException | None = None

    def put(self, events: list[Captured], size: int, timeout: float) -> bool:
        """False when there was no room in time. A chunk goes in whole, so the bounds hold but for one chunk."""
        with self._changed:
            if not self._changed.wait_for(self._has_room, timeout):
                return False
            self._events.extend(events)
            self._bytes += size
            self._changed.notify_all()
            return True

    def take(self, timeout: float) -> tuple[list[Captured], int]:
        """All that is there and its size, empty after `timeout`. Raises capture's failure, after its events."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._error, timeout)
            if not self._events and self._error is not None:
                raise self._error
            events, self._events = self._events, []
            size, self._bytes = self._bytes, 0
            self._changed.notify_all()
            return events, size

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._events) < self._max_events and self._bytes < self._max_bytes
