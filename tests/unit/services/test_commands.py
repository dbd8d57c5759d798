"""The states of a command: whatever is reported, in whatever order and however often, it ends in one way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.domain.commands import (
    DEAD,
    FINAL,
    GRACE_S,
    OPEN,
    STATES,
    STEPS,
    State,
    ack_as_the_monolith_knows,
    advance,
    as_the_monolith_knows,
    overdue,
)

states = st.sampled_from(STATES)
reports = st.lists(states, max_size=12)
CERTAIN = sorted(FINAL - {"timed_out"})


def end(*reported: State, state: State = "queued") -> State:
    for word in reported:
        state = advance(state, word)
    return state


@given(states, reports)
def test_a_report_that_comes_twice_changes_nothing_the_second_time(state: State, words: list[State]) -> None:
    twice = [word for word in words for _ in range(2)]
    assert end(*twice, state=state) == end(*words, state=state)


@given(states, reports)
def test_all_reports_once_more_from_the_beginning_change_nothing(state: State, words: list[State]) -> None:
    once = end(*words, state=state)
    if once in CERTAIN:
        assert end(*words, state=once) == once


@given(reports, reports)
def test_what_has_ended_for_certain_stays_so(before: list[State], after: list[State]) -> None:
    state = end(*before)
    if state in CERTAIN:
        assert end(*after, state=state) == state


@given(reports)
def test_a_command_never_steps_back(words: list[State]) -> None:
    order = {"queued": 0, "sent": 1, "delivered": 2, "timed_out": 3, **dict.fromkeys(CERTAIN, 4)}
    state: State = "queued"
    for word in words:
        after = advance(state, word)
        assert order[after] >= order[state]
        state = after


@given(st.permutations(["sent", "delivered", "succeeded"]))
def test_the_order_in_which_a_devices_words_arrive_does_not_matter(words: list[State]) -> None:
    assert end(*words) == "succeeded"


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("word", ["succeeded", "failed", "rejected", "expired"])
def test_a_step_may_be_skipped(state: State, word: State) -> None:
    assert advance(state, word) == word


def test_a_late_report_says_what_was_after_a_time_out() -> None:
    assert end("sent", "timed_out", "succeeded") == "succeeded"
    assert end("sent", "timed_out", "delivered") == "timed_out"


def test_what_was_superseded_stays_so() -> None:
    assert end("sent", "superseded", "succeeded") == "superseded"


def test_a_command_that_nobody_was_given_does_not_time_out() -> None:
    assert advance("queued", "timed_out") == "queued"


@given(states, st.floats(-1e6, 1e6))
def test_time_makes_only_steps_of_the_table(state: State, seconds: float) -> None:
    after = overdue(state, seconds)
    assert after == state or after in STEPS[state]


@pytest.mark.parametrize(
    ("state", "seconds", "after"),
    [
        ("queued", -1, "queued"), ("queued", 0, "expired"), ("sent", 0, "sent"), ("sent", GRACE_S, "timed_out"),
        ("delivered", GRACE_S - 1, "delivered"), ("delivered", GRACE_S, "timed_out"), ("succeeded", 1e6, "succeeded"),
    ],
)  # fmt: skip
def test_time_ends_what_is_open(state: State, seconds: float, after: State) -> None:
    assert overdue(state, seconds) == after


def test_every_state_has_a_place() -> None:
    assert set(STEPS) == set(STATES) == set(OPEN) | FINAL
    assert set(DEAD) < FINAL
    assert {as_the_monolith_knows(state) for state in STATES} == {"queued", "sent", "expired"}
    assert ack_as_the_monolith_knows("rejected") == "failed"
    assert ack_as_the_monolith_knows("expired") == "expired"
