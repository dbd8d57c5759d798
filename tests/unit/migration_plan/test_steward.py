"""What the steward decides: on failures only, in time, and not twice."""

from __future__ import annotations

import dataclasses
from collections import deque
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from migration_plan.gates.analysis import Measurement
from migration_plan.gates.judge import Finding
from migration_plan.journey import Stand
from migration_plan.ledger import Entry, Row
from migration_plan.plan import Stage, Stages
from migration_plan.steward.act import Acted, reason
from migration_plan.steward.decide import KEPT, POLL_S, Decision, Look, Past, decide, told_now
from migration_plan.steward.waves import Wave, forced_gates, last_act

ROLLBACK = Stage("rollback", failure_limit=2)
MEASURED = st.sampled_from(["pass", "fail", "inconclusive", "error"])
LIMITS = st.builds(
    Stage,
    st.sampled_from(["rollback", "freeze", "alert"]),
    failure_limit=st.integers(0, 3),
    inconclusive_limit=st.integers(0, 5),
    error_limit=st.integers(0, 5),
)
#: Two gates, and how long after the last look each look came: punctual, or late.
LOOKS = st.lists(st.tuples(MEASURED, MEASURED, st.floats(0.5, POLL_S)), min_size=1, max_size=60)


def run(
    stage: Stage, looks: list[tuple[Measurement, Measurement, float]], cooldown_s: float
) -> list[tuple[float, Decision, Look]]:
    """Every decision, when each act succeeds at once and changes nothing about the stage."""
    history: deque[Look] = deque(maxlen=KEPT)
    past, now, found = Past(), 0.0, []
    for first, second, wait in looks:
        now += wait
        look = Look(now, {"errors": first, "lag": second})
        history.append(look)
        decision = decide(stage, history, now, past, cooldown_s=cooldown_s, frozen=False)
        found.append((now, decision, look))
        if decision.action in ("rollback", "freeze"):
            past = Past(now, past.told)
        elif decision.action == "alert":
            past = dataclasses.replace(past, told=told_now(past.told, decision, now))
    return found


@given(LIMITS, LOOKS)
def test_it_never_acts_but_on_a_gate_that_fails_at_this_moment(stage: Stage, looks: list[Any]) -> None:
    for _, decision, look in run(stage, looks, cooldown_s=0):
        if decision.action in ("rollback", "freeze"):
            assert decision.action == stage.on_fail
            assert decision.failed
            assert all(look.measured[gate] == "fail" for gate in decision.failed)


@given(
    LIMITS, st.lists(st.tuples(*[st.sampled_from(["pass", "inconclusive", "error"])] * 2, st.just(POLL_S)), max_size=60)
)
def test_it_never_acts_on_what_is_inconclusive_or_could_not_be_measured(stage: Stage, looks: list[Any]) -> None:
    assert all(decision.action in ("nothing", "alert") for _, decision, _ in run(stage, looks, cooldown_s=0))


@given(LIMITS, LOOKS, st.floats(1, 100))
def test_it_never_acts_twice_within_the_cool_down(stage: Stage, looks: list[Any], cooldown_s: float) -> None:
    acts = [at for at, decision, _ in run(stage, looks, cooldown_s) if decision.action in ("rollback", "freeze")]
    assert all(later - earlier >= cooldown_s for earlier, later in zip(acts, acts[1:], strict=False))


@given(st.integers(0, 3), LOOKS, st.floats(0.5, POLL_S))
def test_it_always_acts_within_ten_seconds_of_failing_data(limit: int, before: list[Any], every: float) -> None:
    """Whatever was before, and however the looks fall: what fails from `begin` on is acted on by `begin` + 10 s."""
    failing = [("fail", "pass", every)] * (int(10 / every) + 1)
    stage = Stage("rollback", failure_limit=limit)
    begin = sum(wait for *_, wait in before)
    acts = [
        at for at, d, _ in run(stage, before + failing, cooldown_s=0) if d.action == "rollback" and "errors" in d.failed
    ]
    assert any(begin < at <= begin + 10 for at in acts)


@given(LIMITS, LOOKS)
def test_what_was_told_is_not_told_again_while_it_lasts(stage: Stage, looks: list[Any]) -> None:
    alerts = [
        gate
        for _, decision, _ in run(stage, looks, cooldown_s=1e9)
        if decision.action == "alert"
        for gate in decision.gates.items()
    ]
    assert len([*alerts]) == len({(name, phase == "failed") for name, phase in alerts})


def test_old_looks_decide_nothing() -> None:
    """The databases were away for a minute: what was measured before says nothing of now."""
    history = [Look(2.0 * n, {"errors": "fail"}) for n in range(5)]
    assert decide(ROLLBACK, history, 9, Past(), cooldown_s=0, frozen=False).action == "rollback"
    assert decide(ROLLBACK, history, 70, Past(), cooldown_s=0, frozen=False).action == "nothing"


def test_a_frozen_domain_is_not_frozen_again_but_somebody_is_told_and_it_still_goes_back() -> None:
    history = [Look(2.0 * n, {"errors": "fail"}) for n in range(5)]
    assert decide(Stage("freeze", failure_limit=2), history, 9, Past(), cooldown_s=0, frozen=True).action == "alert"
    assert decide(ROLLBACK, history, 9, Past(), cooldown_s=0, frozen=True).action == "rollback"


def wave_at(stand: Stand, acted_at: float | None = None, **stages: Any) -> Wave:
    return Wave(Stages(**{"canary": ROLLBACK, **stages}), stand, acted_at)


def fail(wave: Wave, at: float, frozen: bool = False) -> Decision:
    return wave.judge(Look(at, {"errors": "fail"}), [Finding("errors", "fail", "9 of 9", "look")], frozen=frozen)


def test_a_try_that_came_to_nothing_is_repeated_ever_later_and_success_begins_the_cool_down() -> None:
    wave = wave_at(Stand("canary", 10))
    assert [fail(wave, at).action for at in (0, 2)] == ["nothing", "nothing"]
    tries, at = [], 4.0
    while len(tries) < 4:
        decision = fail(wave, at)
        if decision.action == "rollback":
            tries.append(at)
            wave.acted(decision, Acted(False, "ann is at work"), at)
        at += 2
    assert tries == [4, 6, 10, 18]
    decision = Decision("rollback", {"errors": "failed"})
    wave.acted(decision, Acted(True, "done"), at)
    assert all(fail(wave, at + 2 * n).action == "nothing" for n in range(1, 149))
    assert fail(wave, at + 300).action == "rollback"


def test_another_stand_begins_anew_but_the_cool_down_goes_on() -> None:
    wave = wave_at(Stand("canary", 10), shadow=ROLLBACK)
    for at in (0, 2, 4):
        decision = fail(wave, at)
    wave.acted(decision, Acted(True, "taken back"), 4)
    wave.arrive(Stand("shadow"), frozenset())
    assert {fail(wave, at).action for at in range(6, 304, 2)} == {"nothing"}
    assert fail(wave, 304).action == "rollback"


def test_who_takes_it_forward_again_has_it_watched_at_once() -> None:
    wave = wave_at(Stand("shadow"), acted_at=-10)
    wave.arrive(Stand("canary", 10), frozenset())
    assert [fail(wave, at).action for at in (0, 2, 4)] == ["nothing", "nothing", "rollback"]


def row(
    number: int, actor: str, verb: str, before: str | None = None, after: str | None = None, **measured: Any
) -> Row:
    wave = 0 if before else None
    entry = Entry("toys", verb, "done", "r", actor, wave, before=before, after=after, measured=measured)
    return Row(number, datetime(2026, 1, 1, tzinfo=UTC), entry, "", "")


def test_a_steward_that_starts_knows_of_the_last_act_unless_somebody_went_forward_since() -> None:
    back = [row(1, "steward", "freeze"), row(2, "steward", "rollback", "canary 10 %", "shadow")]
    assert last_act(back, "steward", 0) == back[1]
    on = [*back, row(3, "ann", "unfreeze"), row(4, "ann", "advance", "shadow", "canary 10 %")]
    assert last_act(on[:3], "steward", 0) == back[1]
    assert last_act(on, "steward", 0) is None
    assert last_act([], "steward", 0) is None


def test_a_gate_that_somebody_forced_on_the_way_is_not_held_against_the_stage() -> None:
    gates = {"shadow": "fail: 3 differ", "lag": "pass", "verify": "inconclusive"}
    rows = [row(1, "ann", "advance", "shadow", "canary 10 %", gates=gates), row(2, "ann", "freeze")]
    assert forced_gates(rows, 0, Stand("canary", 10)) == {"shadow", "verify"}
    assert forced_gates(rows, 0, Stand("canary", 50)) == frozenset()


def test_a_reason_fits_into_a_header() -> None:
    findings = [Finding(f"gate{n}", "fail", "9 of 9 requests failed" * 9, "look") for n in range(12)]
    decision = Decision("rollback", {finding.gate: "failed" for finding in findings})
    assert reason(decision, findings[:1]).startswith("gate0 failed: 9 of 9 requests failed")
    assert len(reason(decision, findings)) == 800


def test_nobody_watches_a_wave_at_legacy() -> None:
    wave = wave_at(Stand("legacy"))
    assert {fail(wave, at).action for at in range(0, 60, 2)} == {"nothing"}


def test_a_quiet_night_is_told_once_and_a_gate_that_flaps_not_before_the_cool_down() -> None:
    wave, alerts = wave_at(Stand("canary", 10), canary=Stage("alert", failure_limit=0, inconclusive_limit=2)), []
    for number in range(300):
        what: Measurement = "pass" if number % 10 == 0 else "fail" if number % 10 == 9 else "inconclusive"
        decision = wave.judge(Look(2.0 * number, {"errors": what}), [], frozen=False)
        if decision.action == "alert":
            alerts.append((2 * number, dict(decision.gates)))
            wave.acted(decision, Acted(True, "told"), 2.0 * number)
    assert alerts == [(6, {"errors": "inconclusive"}), (18, {"errors": "failed"}), (338, {"errors": "failed"})]
