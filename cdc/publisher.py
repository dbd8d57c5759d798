"""A small thread beside a stream: the watermark into Redis. It cannot stop the stream.

A module of its own: Redis's client takes a third of the time in which a command of ours starts.
"""

from __future__ import annotations

import threading

import orjson
import redis
import structlog

from cdc.status import Status

# Redis gets the watermark whenever it has moved, at most and at least so often, seconds.
PUBLISH_GAP = 0.04
PUBLISH_EVERY = 0.5

WATERMARKS = "banyan:watermark"

log = structlog.get_logger("cdc.publisher")


class Publisher(threading.Thread):
    """HSET banyan:watermark <stream> {…}. Redis may be down for as long as it likes."""

    def __init__(self, url: str, status: Status, stop: threading.Event) -> None:
        super().__init__(name=f"publisher-{status.stream}", daemon=True)
        self._client = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._status, self._halt = status, stop
        self._down = False

    def run(self) -> None:
        while not self._halt.is_set():
            self._status.changed.wait(PUBLISH_EVERY)
            self._status.changed.clear()
            self._publish()
            self._halt.wait(PUBLISH_GAP)
        self._client.close()

    def _publish(self) -> None:
        watermark = self._status.watermark()
        if watermark is None:
            return
        try:
            self._client.hset(WATERMARKS, self._status.stream, orjson.dumps(watermark).decode())
        except redis.RedisError as e:
            if not self._down:
                log.warning("redis does not take the watermark", stream=self._status.stream, error=type(e).__name__)
            self._down = True
        else:
            self._down = False
            self._status.published += 1
