"""What the gates let through, and what they say when they do not."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from migration_plan import plan as plans
from migration_plan.errors import NameUnknown, Refused
from migration_plan.gates import (
    GATES,
    GatewayFigures,
    Measured,
    RoundTrip,
    StreamFigures,
    Verified,
    for_advance,
    for_switch,
    require,
    require_known,
)
from migration_plan.gates.measure import gateway_part
from migration_plan.gates.measured import WayBack
from migration_plan.journey import SHADOW, Stand
from migration_plan.plan import Budgets, Gates

STREAM = StreamFigures("streaming", "reserved", active=True, lag_ms=12.0, silent_ms=400.0, parked=0)
GATEWAY = GatewayFigures(
    healthy={"legacy": True, "service": True},
    breakers={"legacy": "closed", "service": "closed"},
    service_per_s=50.0,
    service_errors_per_s=0.0,
    shadow_compared=1000,
    shadow_mismatched=0,
    round_trip_ms=2.0,
)
WELL = Measured(
    "toys",
    {"forward": STREAM, "reverse": STREAM},
    GATEWAY,
    Verified(clean=True, drift=0, age_s=60),
    RoundTrip(rows=10, violated=0, age_s=600),
    open_transaction_ms=3.0,
    way_back=WayBack(rows=4),
    predicted_pause_ms=40.0,
)
CANARY = Stand("canary", 10)


change = dataclasses.replace


def verdicts(measured: Measured, gates: Gates = Gates()) -> dict[str, str]:
    """The gates of a switch that did not pass, with their measured values."""
    findings = for_switch(measured, gates, Budgets(), "legacy")
    return {finding.gate: f"{finding.verdict}: {finding.measured}" for finding in findings if finding.verdict != "pass"}


def test_a_healthy_domain_may_switch() -> None:
    assert verdicts(WELL) == {}
    assert len(require(for_switch(WELL, Gates(), Budgets(), "service"))) == 13


@pytest.mark.parametrize(
    ("measured", "gate", "said"),
    [
        (change(WELL, streams={"forward": STREAM}), "reverse-stream", "inconclusive: no stream"),
        (
            change(
                WELL, streams={"forward": change(STREAM, halted="public.toy: column name dropped"), "reverse": STREAM}
            ),
            "forward-stream",
            "fail: it is halted by a changed schema: public.toy: column name dropped",
        ),
        (
            change(WELL, streams={"forward": STREAM, "reverse": change(STREAM, slot="lost")}),
            "reverse-stream",
            "fail: its slot is lost",
        ),
        (
            change(WELL, streams={"forward": change(STREAM, state="snapshot"), "reverse": STREAM}),
            "forward-stream",
            "fail: it is at snapshot",
        ),
        (
            change(WELL, streams={"forward": change(STREAM, silent_ms=9000.0), "reverse": STREAM}),
            "forward-stream",
            "fail: last heard of 9.0 s ago",
        ),
        (
            change(WELL, streams={"forward": STREAM, "reverse": change(STREAM, active=False)}),
            "reverse-stream",
            "fail: nobody reads its slot",
        ),
        (
            change(WELL, streams={"forward": change(STREAM, lag_ms=5000.0), "reverse": STREAM}),
            "lag",
            "fail: 5000 ms (at most 1000)",
        ),
        (
            change(WELL, streams={"forward": STREAM, "reverse": change(STREAM, parked=2)}),
            "parked",
            "fail: 2 parked keys",
        ),
        (
            change(WELL, open_transaction_ms=90_000.0),
            "open-transactions",
            "fail: the oldest at legacy is 90000 ms (at most 1000)",
        ),
        (
            change(WELL, open_transaction_ms=None),
            "open-transactions",
            "inconclusive: the age of transactions at legacy is hidden",
        ),
        (change(WELL, round_trip=None), "mapping", "inconclusive: no row was carried there and back yet"),
        (
            change(WELL, round_trip=RoundTrip(10, 2, 1)),
            "mapping",
            "fail: 2 of 10 rows would not come back from a rollback",
        ),
        (
            change(WELL, round_trip=RoundTrip(10, 0, 10**5)),
            "mapping",
            "fail: 10 rows come back, checked 100000 s ago (at most 86400)",
        ),
        (change(WELL, verified=None), "verify", "inconclusive: the two sides were never compared"),
        (change(WELL, verified=Verified(False, 3, 1)), "verify", "fail: 3 rows differ"),
        (change(WELL, verified=Verified(True, 0, 5000)), "verify", "fail: clean, 5000 s ago (at most 900)"),
        (
            change(WELL, verified=Verified(True, 0, 5, refilled=True)),
            "verify",
            "inconclusive: tables were filled again since the last comparison",
        ),
        (change(WELL, sequence_clash="toys_id_seq is at 7"), "sequences", "fail: toys_id_seq is at 7"),
        (change(WELL, predicted_pause_ms=1500.0), "pause", "fail: 1500 ms predicted (at most 1000)"),
        (change(WELL, gateway=change(GATEWAY, healthy={"service": False})), "health", "fail: service is not healthy"),
        (
            change(WELL, gateway=change(GATEWAY, breakers={"service": "open"})),
            "breaker",
            "fail: service's breaker is open",
        ),
    ],
)
def test_each_gate_stops_a_switch_by_itself(measured: Measured, gate: str, said: str) -> None:
    assert verdicts(measured) == {gate: said}


@pytest.mark.parametrize(
    ("direction", "stream", "helps"),
    [
        ("forward", None, "`banyan prepare toys` and start the stream"),
        ("forward", change(STREAM, state="prepared", slot="missing"), "start it, and wait for its first fill"),
        ("forward", change(STREAM, state="snapshot"), "wait until it has filled its tables"),
        ("forward", change(STREAM, slot="lost"), "`banyan stream recover toys --direction forward`"),
        ("forward", change(STREAM, slot="missing"), "`banyan stream recover toys --direction forward`"),
        ("reverse", change(STREAM, slot="lost"), "`banyan stream recover toys --direction reverse`"),
        ("forward", change(STREAM, active=False), "see `banyan logs cdc-toys-forward`"),
    ],
)
def test_a_stream_gate_says_what_helps_in_each_state(direction: str, stream: StreamFigures | None, helps: str) -> None:
    streams = {name: STREAM for name in ("forward", "reverse") if name != direction}
    if stream is not None:
        streams[direction] = stream
    findings = for_switch(change(WELL, streams=streams), Gates(), Budgets(), "legacy")
    [found] = [finding for finding in findings if finding.gate == f"{direction}-stream"]
    assert found.verdict != "pass"
    assert helps in found.help


def test_parked_keys_come_with_the_commands_that_look_replay_and_discard() -> None:
    parked = change(WELL, streams={"forward": STREAM, "reverse": change(STREAM, parked=2)})
    [found] = [finding for finding in for_switch(parked, Gates(), Budgets(), "legacy") if finding.gate == "parked"]
    for command in ("list", "replay", "discard"):
        assert f"`python -m cdc parked {command} --stream toys.reverse" in found.help


def test_a_missing_stream_has_no_lag_to_speak_of() -> None:
    assert set(verdicts(change(WELL, streams={"reverse": STREAM}))) == {"forward-stream", "lag"}


def test_a_silent_gateway_is_no_pass() -> None:
    assert set(verdicts(change(WELL, gateway=None))) == {"gateway", "health", "breaker"}


def test_a_refusal_names_the_gate_and_what_helps() -> None:
    findings = for_switch(change(WELL, verified=None), Gates(), Budgets(), "legacy")
    with pytest.raises(Refused, match=r"verify: the two sides were never compared; run `banyan verify toys`"):
        require(findings)


def test_a_gate_can_be_forced_by_its_name_only() -> None:
    findings = for_switch(change(WELL, verified=None), Gates(), Budgets(), "legacy")
    assert require(findings, ["verify"]) == findings
    with pytest.raises(NameUnknown, match="no gate 'verfy' before this step; there are: gateway, forward-stream"):
        require(findings, ["verfy"])


def test_every_gate_that_can_stop_a_step_may_be_forced_and_no_other() -> None:
    every = [*for_advance(WELL, Gates(), CANARY), *for_switch(WELL, Gates(), Budgets(), "legacy")]
    retiring = {"served", "readers"}  # of `complete`: test_retire_gates.py
    assert {finding.gate for finding in every} | retiring == set(GATES)
    require_known(GATES)
    with pytest.raises(NameUnknown, match="no gate 'verfy'; there are: gateway, health, "):
        require_known(["verify", "verfy"])


def test_reads_go_to_the_service_only_while_it_answers_alike_and_well() -> None:
    assert all(finding.verdict == "pass" for finding in for_advance(WELL, Gates(), CANARY))
    noisy = change(WELL, gateway=change(GATEWAY, shadow_mismatched=10))
    assert all(finding.verdict == "pass" for finding in for_advance(noisy, Gates(), CANARY)), "no field regresses"
    part = {"operation": "toys.get", "kind": "type", "raw": 9, "compared": 99, "noise": 0, "twice": 20}
    fields = [{**part, "field": f"$.f{number}"} for number in range(5)]
    said = {"domains": {"toys": {"shadow": {"compared": 99, "mismatched": 9, "regressions": fields}}}}
    figures = gateway_part(said, "toys")
    assert figures is not None
    shadowed = change(WELL, gateway=change(GATEWAY, shadow_regressions=figures.shadow_regressions))
    (refused,) = [finding for finding in for_advance(shadowed, Gates(), CANARY) if finding.verdict == "fail"]
    assert refused.gate == "shadow"
    assert "toys.get $.f0 (9 of 99; legacy with itself 0 of 20), toys.get $.f1" in refused.measured
    assert refused.measured.endswith(", and 2 more")
    assert refused.help == "see both answers: `banyan differences toys`"
    failing = change(WELL, gateway=change(GATEWAY, service_errors_per_s=5.0))
    assert [f.gate for f in for_advance(failing, Gates(), CANARY) if f.verdict == "fail"] == ["errors"]


def test_too_little_traffic_is_inconclusive() -> None:
    gates = msgspec.structs.replace(Gates(), shadow_samples=5000, requests_per_s=100.0)
    found = [finding.gate for finding in for_advance(WELL, gates, CANARY) if finding.verdict == "inconclusive"]
    assert found == ["shadow", "errors"]


def test_a_domain_that_nobody_has_read_in_shadow_is_refused_with_the_command_that_makes_reads() -> None:
    gates = msgspec.structs.replace(Gates(), shadow_samples=300)
    silent = change(WELL, gateway=change(GATEWAY, shadow_compared=0))
    with pytest.raises(Refused, match=r"shadow: 0 compared.*`banyan load --seconds 20 --domain toys`"):
        require(for_advance(silent, gates, CANARY))
    enough = change(WELL, gateway=change(GATEWAY, shadow_compared=300))
    assert len(require(for_advance(enough, gates, CANARY))) == 9


def test_every_domain_of_the_shipped_plan_asks_for_comparisons_before_the_canary() -> None:
    domains = plans.load().domains
    assert {name: domain.gates.shadow_samples >= 100 for name, domain in domains.items()} == dict.fromkeys(
        domains, True
    )


def test_shadowing_needs_no_verification() -> None:
    assert all(finding.verdict == "pass" for finding in for_advance(change(WELL, verified=None), Gates(), SHADOW))


def test_a_way_back_that_was_not_tried_or_does_not_work_stops_a_switch() -> None:
    assert verdicts(change(WELL, way_back=None)) == {"way-back": "inconclusive: no row was written back to legacy"}
    away = WayBack(why="a row is held by somebody")
    said = "inconclusive: no row was written back to legacy (a row is held by somebody)"
    assert verdicts(change(WELL, way_back=away)) == {"way-back": said}
    refused = WayBack(3, ("public.toy refuses a row of public.toys: too long", "another", "a third"))
    said = "fail: public.toy refuses a row of public.toys: too long, and 2 more"
    assert verdicts(change(WELL, way_back=refused)) == {"way-back": said}


def test_a_gate_names_the_interval_of_the_predicted_pause() -> None:
    slow = change(WELL, predicted_pause_ms=1500.0, predicted_interval_ms=(900.4, 2400.0))
    assert verdicts(slow) == {"pause": "fail: 1500 ms predicted (900 to 2400; at most 1000)"}


def test_the_gateways_status_is_read_by_domain() -> None:
    part = {"requests": {"service": {"per_s": 3, "errors_per_s": None}}, "health": {"service": True}}
    said = {"domains": {"toys": part}}
    figures = gateway_part(said, "toys")
    assert figures is not None
    assert (figures.service_per_s, figures.service_errors_per_s, figures.healthy) == (3.0, 0.0, {"service": True})
    assert gateway_part(said, "games") is None
