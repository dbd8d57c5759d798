"""`banyan bench …` as a user calls it."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from banyan.cli import cli
from banyan.errors import ServerMissing
from load.bench.shadow import run as run_shadow


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_last_line_of_gateway_is_one_object_of_figures() -> None:
    done = CliRunner().invoke(
        cli, ["bench", "gateway", "--interpreted", "--seconds", "1", "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    assert report["bench"] == "gateway"
    assert report["figures"]["banyan"]["rps"] > 100
    assert report["figures"]["banyan"]["errors"] == 0
    assert {"envoy_rps", "envoy_p99", "nginx_rps"} <= report["ratios"].keys()
    for peer in ("envoy", "nginx"):
        assert report["figures"][peer] is not None or any(note.startswith(peer) for note in report["notes"])
    assert report["met"] in (True, False)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_last_line_of_guard_is_one_object_of_figures() -> None:
    done = CliRunner().invoke(cli, ["bench", "guard", "--seconds", "1", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    assert report["bench"] == "guard"
    for kind in ("bare", "guarded"):
        assert report["figures"][kind]["writes_per_s"] > 0
        assert report["figures"][kind]["errors"] == 0
    assert {"http_writes", "update_cpu"} <= report["ratios"].keys()


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ServerMissing, match="apt-get install wrk"):
        CliRunner().invoke(cli, ["bench", "gateway"], catch_exceptions=False)


@pytest.mark.long
def test_shadowed_reads_cost_clients_nothing_whatever_the_shadowed_side_does() -> None:
    """Short, and at a pace that any machine keeps; what is asserted of times is what a blocked client would break."""
    report = run_shadow(2, per_second=200)
    assert report.bench == "shadow"
    assert report.figures["errors"] == 0
    for state in ("off", "well", "dead", "slow", "lying"):
        assert report.figures[state]["requests"] >= 300
        assert report.figures[state]["p50_ms"] < 1000, "the slow side takes 5 s"
    assert {"well_p99", "dead_p99", "slow_p99", "lying_p99", "lying_cpu"} <= report.ratios.keys()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_many_swaps_of_the_table_under_load_fail_no_request_on_several_workers() -> None:
    done = CliRunner().invoke(cli, ["bench", "swap", "--seconds", "1", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    assert report["bench"] == "swap"
    assert report["figures"]["workers"] == 2
    assert report["figures"]["swaps"] >= 2, "each was confirmed by every worker"
    assert report["figures"]["requests"] > 100
    assert report["figures"]["failed"] == 0
    assert report["met"] in (True, False)


@pytest.mark.long
def test_a_short_soak_mixes_nothing_up_and_leaks_nothing() -> None:
    report = _report("soak", "--requests", "5000")
    figures = report["figures"]
    assert figures["requests"] >= 5000
    assert figures["cut_short"] > 0, "faults were met"
    assert figures["statuses"]["200"] > 3000
    assert {name: figures[name] for name in report["bar"]} == dict.fromkeys(report["bar"], 0), report["notes"]


@pytest.mark.long
def test_bodies_of_64_mib_do_not_stay_in_the_gateway() -> None:
    report = _report("stream", "--mib", "64")
    assert report["met"]
    for course in ("upload, length", "upload, chunked", "download, length", "download, chunked"):
        assert report["figures"][course]["grown_mb"] < 32


@pytest.mark.long
def test_messages_through_tunnels_come_back() -> None:
    figures = _report("websocket", "--messages", "2000")["figures"]
    assert (figures["echoed"], figures["wrong"], figures["lost"]) == (2000, 0, 0)


@pytest.mark.long
def test_slow_clients_are_all_cut_off() -> None:
    figures = _report("slowloris", "--connections", "200", "--seconds", "2", "--rounds", "1")["figures"]
    assert figures["left"] == 0
    assert min(figures["cut_off"].values()) > 0
    assert figures["resident_grown_mb"] < 200 * 0.5
    assert figures["requests"] > 0


def _report(bench: str, *arguments: str) -> Any:
    """The last line of what the command prints."""
    done = CliRunner().invoke(cli, ["bench", bench, *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    assert report["bench"] == bench
    return report


@pytest.mark.long
def test_pricing_makes_every_calculation_and_each_of_a_sample_is_decimals() -> None:
    command = ["bench", "pricing", "--quotes", "20000", "--tariffs", "5", "--turns", "1", "--json"]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    assert report["bench"] == "pricing"
    assert report["figures"]["calculations_per_s_per_core"] > 0
    assert report["figures"]["differing_from_decimal"] == 0


@pytest.mark.long
def test_a_minute_of_a_whole_fleet_is_decided_and_told() -> None:
    done = CliRunner().invoke(cli, ["bench", "decide", "--batteries", "1000", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    assert report["figures"]["tick_p99_ms"] > 0
    assert report["figures"]["acting_p50"] > 0
