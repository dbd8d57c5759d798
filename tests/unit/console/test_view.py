"""The page's values follow from the readings: headline, journey, split, lag, notices, runs."""

from datetime import UTC, datetime, timedelta

import pytest

from console import decode, pages
from console.domains import stations, verified_view
from console.readings import (
    Domain,
    Figures,
    Gateway,
    Ledger,
    LedgerRow,
    Part,
    Reading,
    Readings,
    Stream,
    Verification,
)
from console.runs import runs
from console.view import view
from gateway.control.table import Domain as TableDomain
from gateway.control.table import RouteTable
from gateway.control.table import Wave as TableWave
from tests.unit.console.test_words import domain, wave

NOW = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)


def gateway(**domains: Domain) -> Part[Gateway]:
    return Part(Gateway(12, 1, domains), NOW)


def busy(*waves, legacy=234.0, service=26.0, **more) -> Domain:
    figures = {"legacy": Figures(legacy, 4, 20), "service": Figures(service, 2, 9)}
    return domain(*waves, figures=figures, **more)


def row(number: int, step: str, verb="switch", run="r1", **more) -> LedgerRow:
    values = {"measured": {}, "before": "canary 50 %", "after": "service", "reason": None, **more}
    return LedgerRow(number, run, NOW + timedelta(seconds=number), "ann", "pricing", verb, step, **values)


def test_the_headline_is_the_domain_that_has_come_furthest():
    readings = Readings(
        gateway=gateway(devices=domain(wave("shadow")), pricing=domain(wave("canary", 10)), notices=domain(wave()))
    )
    shown = view(readings, (), NOW).headline
    assert shown.text == "pricing: reads 10 % at the service, writes at the monolith"
    assert [line.split(":")[0] for line in shown.lines] == ["devices", "notices"]
    assert shown.tone == "calm"


def test_nothing_has_moved_yet():
    shown = view(Readings(gateway=gateway(pricing=domain(wave()))), (), NOW).headline
    assert shown.text == "Nothing has moved yet: the monolith answers everything"


def test_a_switch_under_way_and_a_trouble_are_told_first():
    moving = view(Readings(gateway=gateway(pricing=domain(wave("canary", 50, hold=True)))), (), NOW).headline
    assert (moving.tone, "changing hands" in moving.text) == ("moving", True)
    broken = view(
        Readings(gateway=gateway(pricing=domain(wave("service"), breakers={"service": "open"}))), (), NOW
    ).headline
    assert (broken.tone, "fall back" in broken.text) == ("trouble", True)


def test_before_the_first_answer_the_page_says_that_it_is_looking():
    shown = view(Readings(), ("pricing",), NOW)
    assert shown.headline.text == "Looking around …"
    assert [d.name for d in shown.domains] == ["pricing"]
    assert not shown.domains[0].known
    assert {c.state for c in shown.components} == {"waiting"}


def test_a_source_that_went_silent_is_named_with_its_time_and_what_it_said_last_stays():
    said = gateway(pricing=busy(wave("canary", 10)))
    readings = Readings(gateway=said.failed("connection refused", NOW + timedelta(seconds=5)))
    shown = view(readings, (), NOW + timedelta(seconds=60))
    assert shown.headline.tone == "unknown"
    assert shown.headline.text.startswith("pricing: reads 10 %")
    assert "Gateway unreachable since 10:30:05 UTC" in shown.headline.lines[0]
    assert shown.notices == (
        "Gateway unreachable since 10:30:05 UTC (connection refused):"
        " phases, traffic and breakers shown as of 10:30:00.",
    )
    assert shown.domains[0].sides[0].per_s == "234"


def test_a_gateway_that_never_answered_leaves_no_figures():
    readings = Readings(gateway=Part().failed("refused", NOW))
    shown = view(readings, ("pricing",), NOW)
    assert shown.headline.text == "The gateway cannot be reached"
    assert shown.domains[0].sentence == "pricing: unknown until the gateway answers"
    assert "not shown" in shown.notices[0]


def test_failing_twice_keeps_the_first_time():
    part = Part().failed("a", NOW).failed("b", NOW + timedelta(seconds=9))
    assert (part.failing_since, part.error) == (NOW, "b")
    assert part.said(1, NOW).ok


@pytest.mark.parametrize("phase", ["legacy", "shadow", "canary", "service", "retired"])
def test_exactly_the_station_of_the_phase_is_lit(phase):
    states = {s.phase: s.state for s in stations(domain(wave(phase, 10)))}
    order = ["legacy", "shadow", "canary", "service", "retired"]
    here = order.index(phase)
    assert [states[name] for name in order] == ["done"] * here + ["current"] + ["ahead"] * (4 - here)


def test_waves_light_every_station_where_keys_stand():
    lit = stations(domain(wave("service", end=103), wave("canary", 50, start=103, end=512), wave(start=512)))
    assert [s.state for s in lit] == ["current", "done", "current", "current", "ahead"]
    assert lit[2].note == "50 % of reads go to the service · 40 % of keys"


def test_the_split_is_what_was_measured_and_the_aim_what_was_decided():
    shown = view(Readings(gateway=gateway(pricing=busy(wave("canary", 10)))), (), NOW).domains[0]
    assert [(s.name, s.share, s.share_words) for s in shown.sides] == [
        ("monolith", 90, "90 %"),
        ("service", 10, "10 %"),
    ]
    assert shown.aim == "10 % of reads and 0 % of writes belong at the service"
    assert shown.owner == "the monolith"


def test_without_requests_there_is_no_split_and_no_latency():
    shown = view(Readings(gateway=gateway(pricing=busy(wave(), legacy=0, service=0))), (), NOW).domains[0]
    assert not shown.busy
    assert [(s.share, s.p99) for s in shown.sides] == [(0, "–"), (0, "–")]


IDLE = "; 0 B to apply, 0 B of WAL kept"


@pytest.mark.parametrize(
    ("stream", "state", "said"),
    [
        (Stream(True, "streaming", 12.0), "ok", f"streaming{IDLE}"),
        (Stream(True, "streaming", 5000.0), "behind", f"streaming{IDLE}"),
        (Stream(True, "streaming", 5.0, parked=2), "behind", f"2 keys wait for a person; streaming{IDLE}"),
        (Stream(True, "snapshot", 3.0), "behind", f"snapshot{IDLE}"),
        (Stream(True, "snapshot", None), "unknown", f"snapshot{IDLE}, no position yet"),
        (Stream(False), "down", "the stream's process does not answer: `banyan status` says why"),
    ],
)
def test_lag_is_judged(stream, state, said):
    readings = Readings(gateway=gateway(pricing=domain(wave())), streams=Part({"pricing.forward": stream}, NOW))
    forward, reverse = view(readings, (), NOW).domains[0].syncs
    assert (forward.state, forward.said) == (state, said)
    assert reverse.state == "unknown"


@pytest.mark.parametrize(
    ("state", "reading", "said"),
    [
        (
            "streaming",
            Reading("public.item", 1200, 4800, 300.0, 12.0),
            "reading again public.item: 1,200 of about 4,800 rows, 300 rows/s, about 12 s left",
        ),
        (
            "snapshot",
            Reading("public.item", 1200, 4800, 0.0, None, "the source is busy"),
            "filling public.item: 1,200 of about 4,800 rows, waits: the source is busy",
        ),
    ],
)
def test_what_is_filled_or_read_again_has_a_bar_with_rate_and_time_left(state, reading, said):
    streams = Part({"pricing.forward": Stream(True, state, 5.0, reading=reading)}, NOW)
    readings = Readings(gateway=gateway(pricing=domain(wave())), streams=streams)
    forward, reverse = view(readings, (), NOW).domains[0].syncs
    assert forward.reading is not None
    assert (forward.reading.share, forward.reading.said) == (25.0, said)
    assert reverse.reading is None


def test_a_streams_own_figures_of_its_fill_reach_the_card():
    progress = {"table": "public.item", "rows": 500, "expected": 1000, "rate": 100.0, "eta_s": 5.0, "waits": None}
    streams = {"pricing.forward": decode.stream({"state": "snapshot", "lag_ms": 3.0, "snapshot": progress})}
    readings = Readings(gateway=gateway(pricing=domain(wave())), streams=Part(streams, NOW))
    card = pages.fragments(view(readings, (), NOW))["domain-pricing"]
    assert "filling public.item: 500 of about 1,000 rows, 100 rows/s, about 5.0 s left" in card
    assert 'width="50.0"' in card
    assert decode.stream({"state": "streaming", "snapshot": None}).reading is None


def test_the_streams_share_one_light_that_names_those_that_are_out():
    streams = {"pricing.forward": Stream(True), "pricing.reverse": Stream(False)}
    light = next(c for c in view(Readings(streams=Part(streams, NOW)), (), NOW).components if "stream" in c.name)
    assert (light.state, light.said) == ("down", "no answer from pricing.reverse")


@pytest.mark.parametrize(
    ("found", "state", "text", "said"),
    [
        (None, "never", "not yet", "run `banyan verify`"),
        (
            Verification(NOW - timedelta(minutes=2), True, 88_038, 0),
            "clean",
            "both sides equal",
            "88,038 rows compared, 2 min ago",
        ),
        (
            Verification(NOW - timedelta(seconds=5), False, 10, 3),
            "drift",
            "3 rows differ",
            "10 rows compared, 5.0 s ago",
        ),
    ],
)
def test_the_last_verification_says_when_how_much_and_what_came_out(found, state, text, said):
    shown = verified_view(found, True, NOW)
    assert (shown.state, shown.text, shown.said) == (state, text, said)


def test_a_switch_is_one_run_with_its_steps_and_its_pause():
    rows = (
        row(1, "preflight.begin"),
        row(2, "preflight.done", measured={"ms": 120.0}),
        row(3, "fence.done", measured={"ms": 2.83}),
        row(4, "publish.arrived", measured={"pause_ms": 41.0, "steps": {"fence": 2.8}}),
        row(5, "end.done", measured={"pause_ms": 41.0, "attempts": 1}),
    )
    (run,) = runs(Ledger(rows, {}))
    assert (run.verb, run.outcome, run.change) == ("switch", "done", "canary 50 % → service")
    assert run.measured == "pause 41 ms"
    assert run.steps == "preflight 120 ms · fence 2.8 ms"
    shown = view(Readings(ledger=Part(Ledger(rows, {}), NOW)), (), NOW)
    assert shown.latest == "10:30:01 UTC: switch of pricing done, canary 50 % → service, pause 41 ms, by ann"


def test_a_run_that_was_aborted_says_that_nothing_changed_and_one_at_work_says_where():
    aborted = (row(1, "fence.failed", reason="lock timeout"), row(2, "abort.done", reason="lock timeout"))
    at_work = (row(3, "preflight.done", run="r2", measured={"ms": 9}), row(4, "fence.begin", run="r2"))
    newest, oldest = runs(Ledger((*aborted, *at_work), {}))
    assert (oldest.outcome, oldest.change) == ("failed", "stays at canary 50 % (wanted service)")
    assert (newest.outcome, newest.steps) == ("under way", "preflight 9.0 ms · fence …")


def test_what_sources_say_is_escaped_on_the_page():
    evil = "<script>alert(1)</script>"
    rows = (row(1, "done", verb="verify", reason=evil, before=None, after=None),)
    readings = Readings(gateway=gateway(**{evil: domain(wave())}), ledger=Part(Ledger(rows, {}), NOW))
    page = pages.page(view(readings, (), NOW))
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_fields_in_which_the_service_differs_are_named_with_the_command_that_shows_them():
    fields = [{"operation": "prices.list", "field": f"$.f{number}"} for number in range(7)]
    table = RouteTable(1, {}, {"pricing": TableDomain("pricing", [TableWave(0, 0, 1024)])})
    seen = decode.gateway(table, {"domains": {"pricing": {"shadow": {"compared": 9, "regressions": fields}}}})
    html = pages.fragments(view(Readings(gateway=Part(seen, NOW)), (), NOW))["domain-pricing"]
    assert "prices.list $.f0" in html
    assert "and 2 more" in html
    assert "banyan differences pricing" in html
    alike = pages.fragments(view(Readings(gateway=gateway(pricing=domain(wave()))), (), NOW))["domain-pricing"]
    assert "banyan differences" not in alike


def test_a_frozen_domain_says_by_whom_since_when_and_why():
    mark = row(1, "done", verb="freeze", reason="errors failed: 43 of 80")
    ledger = Part(Ledger((), {}, {"pricing": mark}), NOW)
    readings = Readings(gateway=gateway(pricing=domain(wave("shadow")), devices=domain(wave())), ledger=ledger)
    pricing, devices = view(readings, (), NOW).domains
    assert pricing.frozen == (
        "frozen by ann since 1 Mar 10:30:01 UTC: errors failed: 43 of 80. It goes back, not forward,"
        " until `banyan unfreeze pricing`"
    )
    assert devices.frozen == ""
