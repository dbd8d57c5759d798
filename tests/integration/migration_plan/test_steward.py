"""The steward on a running toy stack: the service begins to fail in its canary, and the reads go back by themselves."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from banyan.servers.ports import free_port
from migration_plan import verbs
from migration_plan.errors import Frozen
from migration_plan.gates import Finding
from migration_plan.journey import SERVICE, SHADOW, Stand
from migration_plan.steward import Decision
from migration_plan.steward.act import act
from tests.integration.migration_plan.toy import App, Toys, until

pytestmark = pytest.mark.long  # seconds of failing traffic, until the steward has seen enough

ROOT = Path(__file__).resolve().parents[3]
CANARY = Stand("canary", 50)
FAILED = Decision("rollback", {"errors": "failed"})
FINDINGS = [Finding("errors", "fail", "9 of 9 requests failed at the service", "look")]


@contextlib.contextmanager
def reading(toys: Toys, clients: int = 2, per_s: float = 100.0) -> Iterator[list[int]]:
    """Clients that read through the gateway; the statuses that they saw."""
    seen, stop, numbers = list[int](), threading.Event(), itertools.count()
    host, _, port = toys.env["BANYAN_GATEWAY_URL"].removeprefix("http://").partition(":")

    def work() -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        while not stop.wait(clients / per_s):
            connection.request("GET", "/toys", headers={"X-Client-Id": str(next(numbers))})
            answer = connection.getresponse()
            answer.read()
            seen.append(answer.status)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(15)


@contextlib.contextmanager
def steward(toys: Toys, **more: str) -> Iterator[str]:
    """The process, as the stack runs it; its address."""
    url = f"http://127.0.0.1:{free_port()}"
    env = {"PATH": os.environ["PATH"], "BANYAN_HOME": str(toys.folder), **toys.env, "BANYAN_STEWARD_URL": url, **more}
    with (toys.folder / "steward.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "banyan.cli", "steward"],
            cwd=ROOT, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        until(lambda: ready(url), "the steward to look")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (toys.folder / "steward.log").read_text()


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=1).is_success
    except httpx.TransportError:
        return False


def gates(url: str) -> dict[str, list[str]]:
    waves = httpx.get(f"{url}/status", timeout=5).json()["waves"]
    return dict(waves[0]["gates"]) if waves else {}


@contextlib.contextmanager
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", got
    finally:
        server.shutdown()
        server.server_close()


def fail_reads(toys: Toys) -> None:
    def do_get(app: App) -> None:
        app._answer(500, {"error": "out of order"})

    toys.servers[1].RequestHandlerClass.do_GET = do_get  # type: ignore[attr-defined]


def canary(toys: Toys) -> None:
    """Half of the clients; which ones, their id says. Nothing is compared: the toy's sides say who they are."""
    plan = toys.folder / "plan.yaml"
    text = plan.read_text().replace("kind: read}", 'kind: read, key: ["header:x-client-id"]}')
    plan.write_text(text.replace("    canary_steps", "    shadow_percent: 0\n    canary_steps"))
    toys.put_stand(CANARY)


def stand(toys: Toys) -> Stand:
    with toys.context() as context:
        return context.ledger().states()[toys.domain, 0].stand


def test_a_service_that_begins_to_fail_in_its_canary_loses_the_reads_within_ten_seconds(
    toys: Toys,
) -> None:
    canary(toys)
    with hook() as (webhook, got), reading(toys) as seen, steward(toys, BANYAN_STEWARD_WEBHOOK=webhook) as url:
        until(lambda: gates(url).get("errors", [""])[0] == "pass", "the canary to be judged well")
        fail_reads(toys)
        began = time.monotonic()
        until(lambda: stand(toys) == SHADOW, "the reads to go back", timeout=10)
        took = time.monotonic() - began
        until(lambda: got, "the webhook to be told")
        count = len(seen)
        until(lambda: len(seen) > count + 50, "clients to read on")
        assert set(seen[count + 10 :]) == {200}
        metrics = httpx.get(f"{url}/metrics", timeout=5).text
        assert f'banyan_steward_actions_total{{action="rollback",domain="{toys.domain}"}} 1.0' in metrics
    assert took < 10
    [told] = got
    assert (told["action"], told["domain"], told["stage"], told["after"]) == (
        "rollback",
        toys.domain,
        "canary 50 %",
        "shadow",
    )
    assert (told["frozen"], told["actor"]) == (True, "steward")
    assert "requests failed at the service" in told["gates"]["errors"]
    with toys.context("ann") as ann:
        rows = ann.ledger().history(toys.domain, limit=20)
        mine = [(row.entry.verb, row.entry.step) for row in rows if row.entry.actor == "steward"]
        assert mine == [("freeze", "done"), ("rollback", "rollback.begin"), ("rollback", "rollback.done")]
        assert all("errors failed: " in str(row.entry.reason) for row in rows if row.entry.actor == "steward")
        table = ann.admin().table()
        assert table.domains[toys.domain].waves[0].phase == "shadow"
        with pytest.raises(Frozen, match="by steward"):
            verbs.advance(ann, toys.domain)
        verbs.unfreeze(ann, toys.domain, "repaired")
        refusals = verbs.advance(ann, toys.domain, dry_run=True).refusal
        assert refusals  # it fails yet: the gates say so, and nobody has frozen it
        assert not any("frozen" in why for why in refusals)


def test_a_person_at_work_goes_first(toys: Toys) -> None:
    toys.put_stand(CANARY)
    with toys.context("ann") as ann, toys.context("steward") as context:
        with ann.ledger().lease(toys.domain):
            acted = act(context, toys.domain, 0, CANARY, FAILED, FINDINGS)
        assert (acted.done, acted.frozen) == (False, False)
        assert "banyan ann is at work" in acted.text
        assert context.ledger().frozen() == {}
        verbs.rollback(ann, toys.domain)
        moved = act(context, toys.domain, 0, CANARY, FAILED, FINDINGS)
        assert (moved.done, moved.frozen) == (False, False)
        assert stand(toys) == SHADOW


def test_reads_go_back_also_when_the_services_database_is_gone(toys: Toys) -> None:
    toys.put_stand(CANARY)
    toys.env["NEW_DSN"] = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with toys.context("steward") as context:
        acted = act(context, toys.domain, 0, CANARY, FAILED, FINDINGS)
    toys.env["NEW_DSN"] = toys.service
    assert (acted.done, acted.frozen, acted.back) == (True, True, "shadow"), acted.text
    assert stand(toys) == SHADOW


def switched(toys: Toys) -> None:
    toys.put_stand(CANARY)
    with toys.context() as context:
        verbs.switch(context, toys.domain)
    until(lambda: toys.healthy(), "both sides to be healthy")


def test_writes_never_go_back_over_what_the_monolith_does_not_have(toys: Toys) -> None:
    switched(toys)
    toys.stop_stream("reverse")
    with psycopg.connect(toys.service) as connection:
        connection.execute("INSERT INTO toys (label, price) VALUES ('only at the service', 1)")
    until(lambda: reverse_is_silent(toys), "the reverse stream to be silent")
    with toys.context("steward") as context:
        acted = act(context, toys.domain, 0, SERVICE, FAILED, FINDINGS)
        assert (acted.done, acted.frozen, acted.back) == (True, True, None)
        assert "it is not safe to go back: reverse-stream" in acted.text
        assert toys.domain in context.ledger().frozen()
    assert toys.ownership()["service"][0] == "service"
    toys.start_stream("reverse")


def reverse_is_silent(toys: Toys) -> bool:
    from migration_plan.gates.measure import stream_figures

    with toys.context() as context:
        figures = stream_figures(context, toys.domain, "reverse")
    return figures is not None and not figures.active


def test_writes_go_back_when_the_preflight_says_that_they_may(toys: Toys) -> None:
    switched(toys)
    with toys.context("steward") as context:
        acted = act(context, toys.domain, 0, SERVICE, FAILED, FINDINGS)
    assert (acted.done, acted.frozen, acted.back) == (True, True, "canary 50 %"), acted.text
    assert toys.ownership()["legacy"][0] == "legacy"


def test_an_alert_is_kept_and_moves_nothing(toys: Toys) -> None:
    toys.put_stand(SHADOW)
    with toys.context("steward") as context:
        acted = act(context, toys.domain, 0, SHADOW, Decision("alert", {"errors": "inconclusive"}), FINDINGS)
        assert (acted.done, acted.frozen) == (True, False)
        [row] = context.ledger().history(toys.domain, verb="steward")
        assert row.entry.reason == "errors inconclusive: 9 of 9 requests failed at the service"
    assert stand(toys) == SHADOW
