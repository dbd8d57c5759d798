"""Hands the page's changes to everybody who watches: bounded viewers, bounded queues; slow ones get it all anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

HEARTBEAT_S = 15.0
_QUEUE = 5  # messages that a slow viewer may be behind before it gets everything anew


class TooManyViewers(Exception):
    """No more event streams; the page still works, it only does not move."""


class Viewer:
    """One open event stream."""

    def __init__(self, first: bytes) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE)
        self._queue.put_nowait(first)

    def offer(self, changes: bytes, everything: bytes) -> None:
        """Changes build on those before them: if one does not fit, all give way to the whole."""
        if self._queue.full():
            self._empty()
            changes = everything
        self._queue.put_nowait(changes)

    def end(self) -> None:
        self._empty()
        self._queue.put_nowait(None)

    async def messages(self) -> AsyncIterator[bytes]:
        """Until `end`. A comment when there is nothing to say, so that neither side thinks the other gone."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    message = await self._queue.get()
            except TimeoutError:
                message = b": nothing new\n\n"
            if message is None:
                return
            yield message

    def _empty(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()


class Hub:
    """Lives on one event loop. `limit` viewers at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._viewers: set[Viewer] = set()
        self._last: dict[str, str] = {}
        self._beat = b""  # the last tick: who joins between two is told at once that the page is live
        self._closed = False

    def __len__(self) -> int:
        return len(self._viewers)

    def publish(self, state: Mapping[str, str], tick: str) -> None:
        """Send what of `state` (event → data) differs from the last time, and always `tick`."""
        changes = {event: data for event, data in state.items() if self._last.get(event) != data}
        self._last = dict(state)
        self._beat = encode({"tick": tick})
        some, everything = encode(changes) + self._beat, encode(state) + self._beat
        for viewer in self._viewers:
            viewer.offer(some, everything)

    def join(self) -> Viewer:
        """Everything as it was published last comes first. Raises: TooManyViewers."""
        if self._closed or len(self._viewers) >= self._limit:
            raise TooManyViewers(f"{self._limit} viewers are watching already")
        viewer = Viewer(b"retry: 1000\n\n" + encode(self._last) + self._beat)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)

    def close(self) -> None:
        self._closed = True
        for viewer in self._viewers:
            viewer.end()


def encode(events: Mapping[str, str]) -> bytes:
    """As server-sent events (HTML Living Standard §9.2.5)."""
    lines: list[str] = []
    for event, data in events.items():
        lines += [f"event: {event}", *(f"data: {line}" for line in data.splitlines() or [""]), ""]
    return "".join(f"{line}\n" for line in lines).encode()
