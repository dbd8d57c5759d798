"""Pure decisions: backoff, backend, setpoint, limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_agent.backoff import MAX_RETRY_AFTER_S, Backoff, parse_retry_after, phase
from pi_agent.choice import Choice, ChoicePolicy
from pi_agent.clock import AMSTERDAM
from pi_agent.config import Battery
from pi_agent.control import HOLD, Kind, decide
from pi_agent.limits import limited
from pi_agent.model import Command, Mode, Reading, Schedule, Setpoint, Slot

NOON = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
LOCAL = NOON.astimezone(AMSTERDAM)
SCHEDULE = Schedule(3, (Slot(0, 1440, Mode.CHARGE, 2000),))
BATTERY = Battery(max_power_w=3000, soc_min=0.1, soc_max=0.9)


def highest(low: float, high: float) -> float:
    return high


def command(ref: str, issued: datetime) -> Command:
    return Command(ref, Mode.DISCHARGE, 500, issued, issued + timedelta(minutes=15))


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_backoff_is_full_jitter_below_its_cap(failures: int, drawn: float) -> None:
    delay = Backoff(1, 300).delay(failures, lambda low, high: low + drawn * (high - low))
    assert 0 <= delay <= min(300, 2.0 ** min(failures, 30))


def test_backoff_never_comes_before_the_server_allows_it() -> None:
    assert Backoff(1, 300).delay(0, lambda low, high: low, retry_after=20) == 20
    assert Backoff(1, 300).delay(3, highest, retry_after=20) == 28


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("7", 7), ("0", 0), (" 12 ", 12), ("99999999", MAX_RETRY_AFTER_S),
        ("Mon, 01 Jun 2026 10:00:30 GMT", 30), ("Mon, 01 Jun 2026 09:00:00 GMT", 0),
        ("soon", None), ("-5", None), ("1.5", None), ("²", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_its_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOON) == seconds


def test_a_fleet_is_spread_over_the_interval_and_each_device_keeps_its_place() -> None:
    places = [phase(device, 60.0) for device in range(10_000)]
    assert places == [phase(device, 60.0) for device in range(10_000)]
    per_second = [sum(1 for p in places if s <= p < s + 1) for s in range(60)]
    assert sum(per_second) == 10_000
    assert max(per_second) < 250  # the mean is 167


def policy() -> ChoicePolicy:
    return ChoicePolicy(max_errors=3, retreat=Backoff(60, 3600))


def test_the_flag_chooses_the_backend() -> None:
    assert Choice("legacy").backend(0) == "legacy"
    assert Choice("v2").backend(0) == "v2"


def test_v2_is_left_after_three_errors_in_a_row_and_tried_again_later() -> None:
    choice = Choice("v2")
    for _ in range(2):
        choice = policy().failed(choice, "v2", 100, highest)
        assert choice.backend(100) == "v2"
    choice = policy().failed(choice, "v2", 100, highest)
    assert choice.backend(100) == "legacy"
    assert choice.backend(100 + 120) == "v2"


def test_a_success_between_errors_starts_the_count_again() -> None:
    choice = Choice("v2")
    for _ in range(10):
        choice = policy().failed(choice, "v2", 0, highest)
        choice = policy().succeeded(choice, "v2")
    assert choice == Choice("v2")


def test_each_fall_makes_the_retreat_longer_and_a_probe_that_fails_falls_at_once() -> None:
    choice, now, lengths = Choice("v2", errors=2), 0.0, []
    for _ in range(8):
        choice = policy().failed(choice, "v2", now, highest)
        assert choice.retry_at is not None
        lengths.append(choice.retry_at - now)
        now = choice.retry_at
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] <= 60 + 3600


def test_errors_of_the_monolith_and_its_successes_say_nothing_of_v2() -> None:
    fallen = policy().failed(Choice("v2", errors=2), "v2", 0, highest)
    assert policy().failed(fallen, "legacy", 0, highest) == fallen
    assert policy().succeeded(fallen, "legacy") == fallen


def test_a_changed_flag_is_tried_at_once() -> None:
    fallen = policy().failed(Choice("v2", errors=2), "v2", 0, highest)
    back = policy().with_flag(policy().with_flag(fallen, "legacy"), "v2")
    assert back.backend(0) == "v2"
    assert policy().with_flag(fallen, "v2") == fallen


def test_an_untrusted_clock_holds_whatever_else_there_is() -> None:
    decision = decide(LOCAL, SCHEDULE, [command("c", NOON)], distrust="it is 400 s behind")
    assert (decision.setpoint, decision.kind) == (HOLD, Kind.NONE)


def test_a_command_comes_before_the_schedule_and_the_newest_before_older_ones() -> None:
    commands = [
        command("old", NOON),
        command("new", NOON + timedelta(seconds=1)),
        command("older", NOON - timedelta(seconds=1)),
    ]
    decision = decide(LOCAL, SCHEDULE, commands)
    assert (decision.setpoint, decision.kind) == (Setpoint(Mode.DISCHARGE, 500, "new"), Kind.COMMAND)


def test_without_commands_the_slot_in_force_counts_and_between_slots_the_battery_holds() -> None:
    assert decide(LOCAL, SCHEDULE, []).setpoint == Setpoint(Mode.CHARGE, 2000, "slot-v3-20260601-0000")
    assert decide(LOCAL, Schedule(3, (Slot(0, 60, Mode.CHARGE, 1),)), []).setpoint == HOLD
    assert decide(LOCAL, Schedule(), []).setpoint == HOLD


@pytest.mark.parametrize(
    ("wanted", "reading", "effect"),
    [
        (Setpoint(Mode.CHARGE, 2000, "r"), Reading(0.5, 0), Setpoint(Mode.CHARGE, 2000, "r")),
        (Setpoint(Mode.CHARGE, 9000, "r"), Reading(0.5, 0), Setpoint(Mode.CHARGE, 3000, "r")),
        (Setpoint(Mode.CHARGE, 2000, "r"), Reading(0.9, 0), Setpoint(Mode.HOLD, 0, "r")),
        (Setpoint(Mode.DISCHARGE, 2000, "r"), Reading(0.1, 0), Setpoint(Mode.HOLD, 0, "r")),
        (Setpoint(Mode.DISCHARGE, 2000, "r"), Reading(0.95, 0), Setpoint(Mode.DISCHARGE, 2000, "r")),
        (Setpoint(Mode.CHARGE, 2000, "r"), None, Setpoint(Mode.HOLD, 0, "r")),
    ],
)
def test_the_batterys_own_limits_always_win(wanted: Setpoint, reading: Reading | None, effect: Setpoint) -> None:
    assert limited(wanted, reading, BATTERY) == effect
