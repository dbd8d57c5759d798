"""The page, its event stream and its JSON over real HTTP, with sources that come, change and go."""

import contextlib
import json
import time

import httpx
import pytest

from banyan.servers.ports import free_port
from migration_plan.ledger import Entry, Ledger, install
from tests.integration.console.players import TOKEN, Gateway, live, playing, wave
from tests.integration.console.running import environment, running_console, wait_for


@pytest.fixture(scope="module")
def gateway():
    return Gateway(
        waves={"pricing": [wave("canary", 10)], "devices": [wave()]}, live={"pricing": live(90, 10), "devices": live()}
    )


@pytest.fixture(scope="module")
def console(gateway):
    with playing(gateway) as components, running_console(environment(components, ("PRICING", "DEVICES"))) as url:
        yield url


@contextlib.contextmanager
def fed_console(gateway: Gateway, **env: str):
    """A console of its own, for pricing alone."""
    with playing(gateway) as components, running_console(environment(components, ("PRICING",), **env)) as url:
        yield url


def snapshot(url: str) -> dict:
    return httpx.get(f"{url}/api/snapshot", timeout=5).raise_for_status().json()


def events(response: httpx.Response, seconds: float = 10.0):
    """(event, data) as they arrive."""
    deadline = time.monotonic() + seconds
    event, data = "", []
    for line in response.iter_lines():
        assert time.monotonic() < deadline
        if line.startswith("event: "):
            event = line[7:]
        elif line.startswith("data: "):
            data.append(line[6:])
        elif not line and event:
            yield event, "\n".join(data)
            event, data = "", []


def test_the_page_tells_in_words_what_is_where(console, gateway):
    wait_for(lambda: snapshot(console)["headline"]["tone"] == "calm", "the gateway's first answer")
    page = httpx.get(console).text
    assert "pricing: reads 10 % at the service, writes at the monolith" in page
    assert 'aria-current="step"' in page
    assert page.count("<article") == 2
    shown = snapshot(console)["domains"][0]
    assert [(s["name"], s["share_words"]) for s in shown["sides"]] == [("monolith", "90 %"), ("service", "10 %")]
    assert [s["lag_ms"] for s in shown["syncs"]] == [12.0, 12.0]


def test_the_event_stream_sends_everything_first_and_then_only_what_changed(console, gateway):
    with httpx.stream("GET", f"{console}/events", timeout=10) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = events(response)
        first = {}
        for event, data in stream:
            first[event] = data
            if event == "tick":
                break
        assert {"headline", "notices", "strip", "ledger", "domain-pricing", "domain-devices"} <= first.keys()
        gateway.put("pricing", wave("canary", 50))
        seen = []
        for event, data in stream:
            seen.append(event)
            if event == "headline":
                assert "reads 50 % at the service" in data
                break
        assert "domain-devices" not in seen
        assert "ledger" not in seen
    gateway.put("pricing", wave("canary", 10))


def test_the_first_message_has_the_last_tick_so_that_nobody_waits_for_the_next(console):
    wait_for(lambda: httpx.get(f"{console}/api/history").json()["t"], "a first tick")
    for _ in range(4):  # one that joins just before a tick would see it anyhow
        with httpx.stream("GET", f"{console}/events", timeout=10) as response:
            first = next(response.iter_text())
        assert "event: headline" in first
        assert "event: tick" in first


def test_a_tick_comes_every_second_with_a_point_for_the_charts(console):
    began, ticks = time.monotonic(), []
    with httpx.stream("GET", f"{console}/events", timeout=10) as response:
        for event, data in events(response):
            if event == "tick":
                ticks.append(json.loads(data))
            if len(ticks) == 3:
                break
    assert 1.0 < time.monotonic() - began < 8
    series = httpx.get(f"{console}/api/history").json()["series"]
    assert len(ticks[0]["domains"]["pricing"]) == len(series)
    assert ticks[2]["t"] > ticks[1]["t"] > ticks[0]["t"]


def test_a_viewer_that_leaves_is_forgotten(console):
    def viewers() -> float:
        text = httpx.get(f"{console}/metrics").text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("banyan_console_viewers "))

    with httpx.stream("GET", f"{console}/events", timeout=10) as response:
        stream = events(response)  # dropping it would close the response
        next(stream)
        wait_for(lambda: viewers() == 1, "the viewer to be counted")
    wait_for(lambda: viewers() == 0, "the viewer to be forgotten")


def test_viewers_are_bounded_and_the_next_is_asked_to_come_later(console):
    with httpx.Client(limits=httpx.Limits(max_connections=60), timeout=10) as client:
        open_streams = [client.send(client.build_request("GET", f"{console}/events"), stream=True) for _ in range(50)]
        refused = client.get(f"{console}/events")
        for stream in open_streams:
            stream.close()
    assert {stream.status_code for stream in open_streams} == {200}
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "5"
    assert refused.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("path", ["/", "/api/snapshot", "/static/console.js", "/events", "/no-such-page", "/metrics"])
def test_every_answer_forbids_foreign_and_inline_scripts(console, path):
    with httpx.stream("GET", console + path, timeout=5) as response:
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"


def test_the_page_refers_to_nothing_outside_and_has_no_inline_script(console):
    page = httpx.get(console).text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page
    assert " style=" not in page
    for asset in ("htmx.min.js", "htmx-ext-sse.min.js", "uPlot.iife.min.js", "uPlot.min.css"):
        assert httpx.get(f"{console}/static/vendor/{asset}").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed_here(console, method):
    assert httpx.request(method, f"{console}/").status_code == 405
    assert httpx.request(method, f"{console}/api/snapshot").status_code == 405


def test_the_sources_are_polled_once_for_all_viewers(console, gateway):
    with httpx.Client(limits=httpx.Limits(max_connections=30), timeout=10) as client:
        watching = [client.send(client.build_request("GET", f"{console}/events"), stream=True) for _ in range(20)]
        calls, began = gateway.calls, time.monotonic()
        wait_for(lambda: time.monotonic() - began > 2.5, "two rounds of polling")
        per_second = (gateway.calls - calls) / (time.monotonic() - began)
        for stream in watching:
            stream.close()
    assert per_second < 20, "two calls of the admin API, four streams and three health checks a second"


def test_agents_get_their_flag_from_the_console(console, gateway):
    answer = httpx.post(f"{console}/ofrep/v1/evaluate/flags/device-backend", json={"context": {"targetingKey": "7"}})
    assert answer.json()["value"] == "legacy"


def test_the_gateways_death_is_told_with_its_time_and_its_return_heals_the_page():
    gateway, port = Gateway(), free_port()
    with running_console(environment(f"http://127.0.0.1:{port}", ("PRICING",))) as url:
        assert snapshot(url)["headline"]["text"] == "The gateway cannot be reached"
        assert httpx.get(url).status_code == 200
        with playing(gateway, port):
            wait_for(lambda: snapshot(url)["headline"]["tone"] == "calm", "the gateway to be seen")
            assert not any("Gateway" in notice for notice in snapshot(url)["notices"])
        wait_for(lambda: snapshot(url)["headline"]["tone"] == "unknown", "the gateway to be missed")
        shown = snapshot(url)
        assert shown["headline"]["lines"][0].startswith("Gateway unreachable since ")
        assert "Nothing has moved yet" in shown["headline"]["text"], "what it said last stays"
        assert shown["domains"][0]["sides"][0]["per_s"] == "120"
        assert shown["domains"][0]["syncs"][0]["state"] == "down"
        with playing(gateway, port):
            wait_for(lambda: snapshot(url)["headline"]["tone"] == "calm", "the gateway to be seen again")


def test_a_refused_token_is_named_and_not_shown():
    gateway = Gateway()
    with fed_console(gateway, GATEWAY_ADMIN_TOKEN="wrong-secret") as url:
        wait_for(lambda: "GATEWAY_ADMIN_TOKEN" in httpx.get(url).text, "the refusal")
        text = httpx.get(url).text
    assert "check GATEWAY_ADMIN_TOKEN" in text
    assert "wrong-secret" not in text
    assert TOKEN not in text


def test_the_ledgers_tail_and_the_last_verification_come_from_postgresql(database, gateway):
    install(database)
    measured = {"clean": True, "rows": 88_038, "drift": 0}
    verified = Entry("pricing", "verify", "compared", "run-1", "ann", measured=measured)
    steps = [
        Entry("pricing", "switch", f"{step}.done", "run-2", "ann", 0, 1, "canary 50 %", "service", {"ms": 3.2})
        for step in ("hold", "fence")
    ]
    with fed_console(gateway, BANYAN_LEDGER_DSN=database) as url:
        wait_for(lambda: "No step has been taken yet" in snapshot(url)["ledger_empty"], "the empty ledger")
        with Ledger(database, "ann") as ledger:
            ledger.append([verified])
            ledger.append(steps)
        wait_for(lambda: len(snapshot(url)["ledger"]) == 2, "the runs")
        shown = snapshot(url)
    assert [(r["verb"], r["change"], r["steps"]) for r in shown["ledger"]] == [
        ("switch", "canary 50 % → service", "hold 3.2 ms · fence 3.2 ms"),
        ("verify", "", ""),
    ]
    assert shown["domains"][0]["verified"]["text"] == "both sides equal"
    assert shown["domains"][0]["verified"]["said"].startswith("88,038 rows compared")


def test_a_ledger_that_is_away_does_not_disturb_the_rest(gateway):
    dsn = f"postgresql://nobody:pw-secret@127.0.0.1:{free_port()}/banyan"
    with fed_console(gateway, BANYAN_LEDGER_DSN=dsn) as url:
        wait_for(lambda: snapshot(url)["headline"]["tone"] == "calm", "the gateway's first answer")
        wait_for(lambda: snapshot(url)["notices"], "the ledger to be missed")
        shown = snapshot(url)
    assert [n.split()[0] for n in shown["notices"]] == ["Ledger"]
    assert "pw-secret" not in json.dumps(shown)


def test_a_console_ends_at_once_though_somebody_watches(gateway):
    with httpx.Client(timeout=10) as client:
        with fed_console(gateway) as url:
            stream = client.send(client.build_request("GET", f"{url}/events"), stream=True)
            next(events(stream))
        stream.close()
