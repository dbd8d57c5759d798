"""Spans of real gateways at a real collector, what upstreams are told of them, and that no request waits for any."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.gateway.collector import Collector, Told
from tests.integration.gateway.running import Running, Start, first, ready, run
from tests.integration.gateway.stage import until
from tests.integration.gateway.upstream import HangUp, Seen, Upstream, answering, misdirected

pytestmark = pytest.mark.long  # collectors that hang and come back

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BELOW, ABOVE = "0" * 15 + "1" + "0" * 15 + "1", "1" + "f" * 31  # their lower halves decide, by a ratio of a half


class Traced:
    """A gateway between two servers, and a collector."""

    def __init__(self, gateway: Running, sides: tuple[Upstream, Upstream], collector: Collector, log: Path) -> None:
        self.gateway = gateway
        self.legacy, self.service = sides
        self.collector = collector
        self.client = httpx.AsyncClient(base_url=gateway.url, timeout=20)
        self._log = log

    async def one(self) -> Told:
        """The request that was traced."""
        await until(self.collector.servers, within=20)
        (found,) = self.collector.servers()
        return found

    async def moved(self, **changes: Any) -> None:
        def move() -> None:
            with self.gateway.admin() as admin:
                admin.patch_domain("shop", admin.table().version, "test", "test", **changes)

        await asyncio.to_thread(move)

    async def logged(self, count: int) -> list[dict[str, Any]]:
        await until(lambda: self._log.exists() and self._log.read_bytes().count(b"\n") >= count)
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def parents(self, side: Upstream) -> list[str]:
        return [seen.headers["traceparent"] for seen in side.seen if seen.target != "/health"]


@contextlib.asynccontextmanager
async def tracing(
    tmp_path: Path, starting: Start, sides: tuple[Upstream, Upstream], **given: str
) -> AsyncIterator[Traced]:
    collector = await Collector().start()
    log = tmp_path / "access.log"
    settings = {
        "GATEWAY_TABLE": first(tmp_path, sides), "GATEWAY_ACCESS_LOG": str(log), "GATEWAY_DRAIN_SECONDS": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "50", **given,
    }  # fmt: skip
    traced = Traced(await ready(starting(**settings)), sides, collector, log)
    yield traced
    await traced.client.aclose()
    await collector.server.kill()


@pytest.fixture
async def traced(tmp_path: Path, starting: Start, sides: tuple[Upstream, Upstream]) -> AsyncIterator[Traced]:
    """Every request is sampled."""
    async with tracing(tmp_path, starting, sides) as made:
        yield made


async def test_a_request_is_a_server_span_and_an_attempt_a_client_span(traced: Traced) -> None:
    answer = await traced.client.get(
        "/items/7?secret=hush", headers={"X-Client": "ann", "Authorization": "Bearer hush", "X-Api-Key": "hush"}
    )
    server = await traced.one()
    (client,) = traced.collector.clients(server)
    assert (server.span.name, server.parent, server.failed) == ("GET /items/{id}", "", False)
    host, _, port = traced.gateway.addresses["listen"].rpartition(":")
    wanted = {
        "http.request.method": "GET", "url.path": "/items/7", "url.scheme": "http", "http.route": "/items/{id}",
        "http.response.status_code": 200, "server.address": host, "server.port": int(port),
        "network.protocol.version": "1.1", "error.type": None,
        "banyan.domain": "shop", "banyan.operation": "items.get", "banyan.side": "legacy", "banyan.reason": "phase",
        "banyan.route_version": 1, "banyan.request_id": answer.headers["x-request-id"],
    }  # fmt: skip
    assert {name: server[name] for name in wanted} == wanted
    wanted = {
        "http.request.method": "GET", "http.response.status_code": 200, "server.address": "127.0.0.1",
        "server.port": traced.legacy.port, "network.peer.address": "127.0.0.1",
        "network.peer.port": traced.legacy.port, "url.full": f"{traced.legacy.url}/items/7", "error.type": None,
        "banyan.side": "legacy", "banyan.upstream": "legacy", "banyan.attempt": 1, "http.request.resend_count": None,
    }  # fmt: skip
    assert {name: client[name] for name in wanted} == wanted
    assert traced.parents(traced.legacy) == [f"00-{server.trace}-{client.id}-01"]
    assert 0 < client.seconds <= server.seconds < 5
    assert abs(server.span.end_time_unix_nano / 1e9 - time.time()) < 60
    assert server.resource["service.name"] == "banyan-gateway"
    assert b"hush" not in traced.collector.raw
    assert traced.collector.paths == {"/v1/traces"}
    (line,) = await traced.logged(1)
    assert line["trace_id"] == server.trace


async def test_a_caller_is_the_parent_and_its_state_goes_on(traced: Traced) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-00", "tracestate": "vendor=1"}
    await traced.client.get("/items", headers=headers)
    server = await traced.one()
    (client,) = traced.collector.clients(server)
    assert (server.trace, server.parent, server.span.trace_state) == (TRACE, CALLER, "vendor=1")
    (seen,) = [seen for seen in traced.legacy.seen if seen.target == "/items"]
    assert seen.headers["traceparent"] == f"00-{TRACE}-{client.id}-01"
    assert seen.headers["tracestate"] == "vendor=1"
    assert (await traced.logged(1))[0]["trace_id"] == TRACE


async def test_a_fallback_is_a_second_attempt_beside_the_first(traced: Traced) -> None:
    await traced.moved(phase="canary", canary_percent=100)
    traced.service.handler = answering(500)
    assert (await traced.client.get("/items", headers={"X-Client": "ann"})).status_code == 200
    server = await traced.one()
    one, other = traced.collector.clients(server)
    assert (one["banyan.side"], one["http.response.status_code"], one["error.type"], one.failed) == (
        "service", 500, "500", True,
    )  # fmt: skip
    assert (other["banyan.side"], other["http.response.status_code"], other.failed) == ("legacy", 200, False)
    assert [span["banyan.attempt"] for span in (one, other)] == [1, 2]
    assert [span["banyan.reason"] for span in (one, other, server)] == ["canary", "fallback", "fallback"]
    assert other["http.request.resend_count"] == 1
    assert (server["banyan.side"], server.failed) == ("legacy", False)
    assert "fallback" in [name for name, _ in server.events]
    sent = [traced.parents(traced.service), traced.parents(traced.legacy)]
    assert sent == [[f"00-{server.trace}-{span.id}-01"] for span in (one, other)]


async def test_a_reroute_shows_who_refused_and_who_took_it(traced: Traced) -> None:
    traced.legacy.handler = misdirected("service")
    assert (await traced.client.post("/items", content=b"{}")).status_code == 200
    server = await traced.one()
    one, other = traced.collector.clients(server)
    assert (one["http.response.status_code"], other["http.response.status_code"]) == (421, 200)
    assert [name for name, _ in server.events] == ["rerouted"]
    assert (server["banyan.side"], server["banyan.reason"]) == ("service", "rerouted")


async def test_a_write_that_was_held_tells_for_how_long(traced: Traced) -> None:
    await traced.moved(hold=True)
    asked = asyncio.create_task(traced.client.post("/items", content=b"{}"))

    async def held() -> bool:
        def look() -> bool:
            with traced.gateway.admin() as admin:
                return bool(admin.status()["domains"]["shop"]["held"])

        return await asyncio.to_thread(look)

    await until(held)
    await traced.moved(hold=False)
    assert (await asked).status_code == 200
    server = await traced.one()
    ((name, attributes),) = server.events
    assert name == "held"
    assert 0 < attributes["banyan.waited_ms"] / 1e3 <= server.seconds
    assert len(traced.collector.clients(server)) == 1


async def test_a_server_that_hangs_up_and_one_that_is_away_are_errors(traced: Traced) -> None:
    async def hang_up(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    traced.legacy.handler = hang_up
    assert (await traced.client.post("/items", content=b"{}")).status_code == 502
    server = await traced.one()
    (client,) = traced.collector.clients(server)
    assert (client["error.type"], client["http.response.status_code"], client.failed) == ("lost", None, True)
    assert (server["error.type"], server["http.response.status_code"], server.failed) == ("lost", 502, True)


async def test_what_never_went_upstream_is_traced_and_logged_by_one_id(traced: Traced) -> None:
    answer = await traced.client.post("/items", headers={"Banyan-Dry-Run": "1"}, content=b"{}")
    assert answer.status_code == 501
    server = await traced.one()
    assert traced.collector.clients(server) == []
    assert (server["error.type"], server["http.response.status_code"]) == ("rehearsal", 501)
    (line,) = await traced.logged(1)
    assert line["trace_id"] == server.trace


async def test_requests_of_no_operation_are_named_by_their_method(traced: Traced) -> None:
    await traced.client.get("/elsewhere/4711")
    server = await traced.one()
    assert (server.span.name, server["http.route"], server["banyan.domain"]) == ("GET", None, "default")


async def test_the_parents_flag_decides_and_roots_by_their_id(
    tmp_path: Path, starting: Start, sides: tuple[Upstream, Upstream]
) -> None:
    half = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    async with tracing(tmp_path, starting, sides, **half) as traced:
        for trace, flags in ((BELOW, "00"), (ABOVE, "01"), (ABOVE, "02")):
            await traced.client.get("/items", headers={"traceparent": f"00-{trace}-{CALLER}-{flags}"})
        for _ in range(60):
            await traced.client.get("/items")
        parents = [parent.split("-") for parent in traced.parents(traced.legacy)]
        sampled = [parent[1] for parent in parents if int(parent[3], 16) & 1]
        await until(lambda: {one.trace for one in traced.collector.servers()} == set(sampled), within=20)
        assert [parent[1:] for parent in (parents[0], parents[2])] == [[BELOW, CALLER, "00"], [ABOVE, CALLER, "02"]]
        assert (parents[1][1], parents[1][3]) == (ABOVE, "01")
        roots = parents[3:]
        assert all((trace[16:] < "8" + "0" * 15) == (flags == "01") for _, trace, _, flags in roots)
        assert 10 < sum(flags == "01" for *_, flags in roots) < 50
        assert {line["trace_id"] for line in await traced.logged(63)} == {parent[1] for parent in parents}


async def test_a_ratio_that_asks_no_parent_takes_the_flag_away(
    tmp_path: Path, starting: Start, sides: tuple[Upstream, Upstream]
) -> None:
    half = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    async with tracing(tmp_path, starting, sides, **half) as traced:
        await traced.client.get("/items", headers={"traceparent": f"00-{ABOVE}-{CALLER}-01"})
        await traced.client.get("/items", headers={"traceparent": f"00-{BELOW}-{CALLER}-00"})
        assert (await traced.one()).trace == BELOW
        one, other = traced.parents(traced.legacy)
        assert one == f"00-{ABOVE}-{CALLER}-00"
        assert (other.split("-")[1], other.split("-")[3]) == (BELOW, "01")


async def test_without_a_collector_nothing_is_changed(
    tmp_path: Path, starting: Start, sides: tuple[Upstream, Upstream]
) -> None:
    async with tracing(tmp_path, starting, sides, OTEL_EXPORTER_OTLP_ENDPOINT="") as traced:
        await traced.client.get("/items")
        await traced.client.get("/items", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
        new, given = traced.parents(traced.legacy)
        assert new.endswith("-01")
        assert given == f"00-{TRACE}-{CALLER}-00"
        assert not traced.collector.calls


@pytest.mark.parametrize("trouble", ["hangs", "away"])
async def test_a_collector_in_trouble_costs_no_request(
    tmp_path: Path, starting: Start, sides: tuple[Upstream, Upstream], trouble: str
) -> None:
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "32", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
    async with tracing(tmp_path, starting, sides, **small) as traced:
        if trouble == "away":
            await traced.collector.server.kill()
        traced.collector.hangs = True
        await traced.client.get("/items")
        if trouble == "hangs":
            await until(lambda: traced.collector.calls, within=20)
        began = time.monotonic()
        for _ in range(20):
            answers = await asyncio.gather(*(traced.client.get("/items") for _ in range(20)))
            assert {answer.status_code for answer in answers} == {200}
        assert time.monotonic() - began < 10
        metrics = httpx.get(f"http://{traced.gateway.addresses['admin']}/metrics").text
        dropped = next(line for line in metrics.splitlines() if 'spans_total{outcome="dropped"}' in line)
        assert float(dropped.split()[1]) > 400
        ended = time.monotonic()
        assert await asyncio.to_thread(traced.gateway.stop) == 0
        assert time.monotonic() - ended < 5


async def test_the_last_spans_go_out_when_the_gateway_ends(
    tmp_path: Path, starting: Start, sides: tuple[Upstream, Upstream]
) -> None:
    async with tracing(tmp_path, starting, sides, OTEL_BSP_SCHEDULE_DELAY="60000") as traced:
        await traced.client.get("/items")
        assert not traced.collector.spans
        await asyncio.to_thread(traced.gateway.stop)
        assert len(traced.collector.spans) == 2


def test_bad_settings_are_refused_by_name(tmp_path: Path) -> None:
    good = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "GATEWAY_TABLE": str(tmp_path / "none")}
    for name, value in (
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "no.pem")),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush hush"),
    ):
        done = run(tmp_path / "state", "serve", **{**good, name: value})
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        words = {"OTEL_EXPORTER_OTLP_TIMEOUT": "timeout", "OTEL_EXPORTER_OTLP_HEADERS": "Header"}
        assert words.get(name, name) in done.stderr
        assert "hush" not in done.stderr
