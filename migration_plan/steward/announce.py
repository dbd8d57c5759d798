"""Tells the world what the steward did: the log at once, and a webhook, in a thread of its own and boundedly."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import structlog

from migration_plan.errors import NotConfigured

WEBHOOK = "BANYAN_STEWARD_WEBHOOK"

TIMEOUT_S = 3.0
WAITS_S = (0.5, 1.0, 2.0)  # between tries; then it is given up, and counted
WAITING = 32  # announcements; what does not fit is counted as failed

log = structlog.get_logger("steward")


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One JSON object. `action`: what was done: rollback, freeze, or alert when nothing was. `gates`: name → what was
    measured; `text` says it all in one line, for who shows nothing else."""

    text: str
    action: str
    domain: str
    wave: int
    stage: str
    at: str
    actor: str
    gates: dict[str, str]
    after: str | None = None
    frozen: bool = False
    run_id: str | None = None


class Webhook:
    """POSTs each announcement, at most four times. An answer 4xx is final: the same body would get it again."""

    def __init__(self, url: str, wait: Callable[[float], Any] | None = None) -> None:
        """Raises: NotConfigured when the URL is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotConfigured(f"{WEBHOOK} is not the URL of a webhook, such as https://hooks.example.org/banyan")
        self.sent = self.failed = 0
        self._url, self._host = url, parts.hostname  # the path of a webhook is often its secret
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._queue: queue.Queue[Announcement | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def send(self, announcement: Announcement) -> None:
        """Never waits, never raises."""
        try:
            self._queue.put_nowait(announcement)
        except queue.Full:
            self.failed += 1
            log.error("the webhook is too slow: an announcement was dropped", host=self._host)

    def close(self, timeout: float = 2 * TIMEOUT_S) -> None:
        """What waits is tried once more."""
        self._stopping.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _work(self) -> None:
        with httpx.Client(timeout=TIMEOUT_S, headers={"Content-Type": "application/json"}) as client:
            while (announcement := self._queue.get()) is not None:
                if self._deliver(client, msgspec.json.encode(announcement)):
                    self.sent += 1
                else:
                    self.failed += 1

    def _deliver(self, client: httpx.Client, body: bytes) -> bool:
        why = ""
        for wait in (0.0, *WAITS_S):
            if wait:
                self._wait(wait)
            try:
                answer = client.post(self._url, content=body)
            except httpx.TransportError as error:
                why = type(error).__name__
                continue
            if answer.is_success:
                return True
            why = f"it answered {answer.status_code}"
            if answer.is_client_error and answer.status_code not in (408, 429):
                break
        log.error("the webhook took no announcement", host=self._host, why=why)
        return False


class Announcer:
    def __init__(self, webhook: Webhook | None) -> None:
        self.webhook = webhook

    def tell(self, announcement: Announcement) -> None:
        level = log.warning if announcement.action == "alert" else log.error
        level(announcement.text, **{k: v for k, v in msgspec.to_builtins(announcement).items() if k != "text"})
        if self.webhook is not None:
            self.webhook.send(announcement)

    def close(self) -> None:
        if self.webhook is not None:
            self.webhook.close()
