"""Announcements on a real HTTP server: what arrives, what is tried again, what is given up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from migration_plan.errors import NotConfigured
from migration_plan.steward.announce import WAITING, Announcement, Webhook
from tests.integration.migration_plan.toy import until

TOLD = Announcement(
    "toys taken back", "rollback", "toys", 0, "canary 10 %", "2026-01-01", "steward", {"errors": "9 of 9"}
)


@dataclass
class Receiver:
    """Answers with `codes`, then 204."""

    codes: list[int] = field(default_factory=list)
    got: list[dict[str, object]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.codes.pop(0) if found.codes else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()
            found.arrived.set()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def deliver(url: str, count: int = 1) -> tuple[Webhook, list[float]]:
    """Sent, answered or given up, and how long was waited between tries."""
    waits: list[float] = []
    webhook = Webhook(url, waits.append)
    for _ in range(count):
        webhook.send(TOLD)
    webhook.close()
    return webhook, waits


def test_one_small_json_object_arrives(receiver: Receiver) -> None:
    webhook, waits = deliver(receiver.url)
    assert receiver.got == [
        {
            "text": "toys taken back", "action": "rollback", "domain": "toys", "wave": 0, "stage": "canary 10 %",
            "at": "2026-01-01", "actor": "steward", "gates": {"errors": "9 of 9"},
        }
    ]  # fmt: skip
    assert (webhook.sent, webhook.failed, waits) == (1, 0, [])


def test_a_server_in_trouble_is_tried_again_a_few_times(receiver: Receiver) -> None:
    receiver.codes = [503, 429]
    webhook, waits = deliver(receiver.url)
    assert (len(receiver.got), webhook.sent, waits) == (3, 1, [0.5, 1.0])
    receiver.codes = [500] * 9
    webhook, waits = deliver(receiver.url)
    assert (webhook.failed, waits) == (1, [0.5, 1.0, 2.0])


def test_what_is_refused_is_not_said_again(receiver: Receiver) -> None:
    receiver.codes = [400]
    webhook, waits = deliver(receiver.url)
    assert (len(receiver.got), webhook.failed, waits) == (1, 1, [])


def test_nobody_there_is_given_up_and_counted() -> None:
    webhook, waits = deliver("http://127.0.0.1:9/hook")
    assert (webhook.failed, waits) == (1, [0.5, 1.0, 2.0])


def test_who_is_too_slow_loses_announcements_and_holds_nothing_up() -> None:
    waiting = threading.Event()
    webhook = Webhook("http://127.0.0.1:9/hook", lambda _: waiting.wait(10))
    for _ in range(WAITING + 5):
        webhook.send(TOLD)
    assert webhook.failed >= 4
    waiting.set()
    until(lambda: webhook.failed == WAITING + 5, "the rest to be given up")
    webhook.close()


@pytest.mark.parametrize("url", ["hooks.example.org", "ftp://example.org/x", "https://"])
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(NotConfigured, match="BANYAN_STEWARD_WEBHOOK"):
        Webhook(url)
